The shell: `btcp show|set|shutdown|wait|clear|trace|reload|help`, one by one, in `btcp shell` with history and completion, or
from a script; `--json`, exit statuses, and errors that point at the word; over the socket, or over TLS to another node
(`nodes.NAME.manage`) with an operator's certificate (`btcp ca issue --operator`) of one of three levels. `btcp top` is a live view. Traces of
chosen flows are pcapng files. See `docs/shell.md`.
