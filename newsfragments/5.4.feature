A run of everything with `BASELINE` says in docs/performance.md, too, how far it agrees with the earlier result;
`make bench RESULT=results.json` reports a result anew without measuring.
