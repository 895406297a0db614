Live TCP connections are handed off by content: `twistd btcp` on every host, a raw
datapath in pure Python, AMP control channel, partition map from YAML, and a lab of
network namespaces to try it in.
