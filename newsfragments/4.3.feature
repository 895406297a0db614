Nodes can be drained and made ready again without a failed request, on any node and for all; weights, slow start, health checks
(TCP, TLS, HTTP, HTTPS and by handoff) and loads are known to every node. The control protocol has a second version, and both speak
with each other.
