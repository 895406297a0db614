`make bench` measures BTCP beside nginx, HAProxy and a direct connection, in works from short connections to SYN
floods and cache locality, and writes docs/performance.md; `WORK=` chooses, `BASELINE=` says what fell.
