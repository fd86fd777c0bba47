// Package client follows the events of a Carelog from another program: first what is
// in its log, over HTTP, then what happens, over NATS, without a gap or a repetition in
// between.
//
//	err := client.Follow(ctx, client.Config{
//		URL:   "https://carelog.example.com",
//		Token: login,           // answers an access token
//		NATS:  connection,      // a *nats.Conn; nil: over HTTP alone
//	}, stored, func(ctx context.Context, e client.Event) error {
//		// handle e, and store e.Checkpoint() together with what came of it
//		return nil
//	})
//
// # What is guaranteed
//
//   - Events come in order of position, each once as long as Follow runs. After a
//     restart it goes on after the checkpoint that it is given: store that of the last
//     event in the same transaction as what the event led to, and each is handled exactly
//     once.
//   - Whatever is lost on the way (a connection, the NATS stream, an event in it) is
//     noticed by the positions, which have no gaps, and read over HTTP. While NATS is
//     away, events come over HTTP, some seconds later.
//   - Over HTTP a user gets only the events that the user may see, while NATS carries all:
//     with NATS the token must be an auditor's, or what is read over HTTP would have gaps
//     ([ErrNotAll]; without NATS, where Config.All asks for it). When that changes while
//     Follow runs nothing is left out without a word: [ErrViewChanged].
//   - The events of another log are never handed over: [OtherLogError]. A log gets another
//     id when it is restored or imported; then positions mean other events, and whoever
//     follows has to start over, with the zero Checkpoint.
//   - Nor are those of a log that went back to an earlier state and kept its id, as by a
//     failover that lost commits, when the last event that was handed over, or read over, is
//     one of those that were lost: [WentBackError]. Start over, too.
//   - An event of a type that this version of the package does not know is handed
//     over all the same, with its data and without a payload.
//
// Follow does not store checkpoints, and it starts no goroutine that outlives it.
package client
