BTCP runs as a systemd service without root: four capabilities, or `user:` for who is started by root. SIGHUP reads the
configuration again, wholly or not at all, while connections go on. `log:` writes text or JSON to a file that can be
rotated, with a record when a connection is handed off and one when it ends. The field `seconds` of the record of a
handoff counts from the client's SYN; `handoff_seconds` from the complete request.
