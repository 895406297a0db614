The control channel can be mutual TLS: `control: {certificate: ..., key: ..., authority: ...}`. Peers whose
certificates do not name the node they say they are, are refused. `btcp ca init`, `issue` and `renew` make a small
authority; renewed certificates are taken without a restart. Without certificates, `insecure: true` must be said,
and the log warns of it.
