Connections that the kernel hands off (`express: true`) have the same records in the log as all others, and `log.connections` says
which of them are written. Records for which there was no room are counted: `ebpf.unrecorded`, `express.unrecorded`.
