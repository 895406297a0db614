`datapath: ebpf` moves the packets of handed-off connections in the kernel, and
`adoption: cookie` makes the origin's connection with the front-end's own sequence
numbers. Both are taken where the host allows it.
