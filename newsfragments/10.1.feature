A lab's client can be far away: `btcp lab up --delay 30ms --loss 1 --rate 100`, and the same of
`btcp lab demo`. `make bench WORK=wan` measures BTCP, nginx and HAProxy beside a direct connection at such
distances.
