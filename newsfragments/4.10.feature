`btcp show` and the other orders start in two thirds of the time: each command of `btcp` imports what it needs,
not what the others do.
