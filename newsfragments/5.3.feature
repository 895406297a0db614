`make bench WORK=profile` says where the microseconds go of a connection that Python decides, module by module, in the
daemon of a front-end and of a back-end.
