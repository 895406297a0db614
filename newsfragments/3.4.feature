With `express: true` the kernel hands connections off by itself, by what the map and the policies say: several times as
many new connections a second, each with less delay. Off by default.
