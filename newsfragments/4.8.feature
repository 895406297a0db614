Listeners with `content: tls` route by the name in the ClientHello (SNI), which is handed over untouched: keys
and certificates stay with the origins. Logs have `sni`, and the `handoff` check asks with a ClientHello.
