With the eBPF datapath the kernel answers SYNs, without remembering anything of them, and follows the
end of each connection: the daemon sees one packet of a connection as its front-end, and none as
its back-end.
