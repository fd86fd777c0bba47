// Package tracing is how one trace goes from an HTTP request through its events to
// the read tables.
//
// # Where spans begin and end
//
//	POST /api/patients/            httpapi: from the headers of a request to its answer
//	├ decide                       commands: from reading the history to the answer of the log
//	│ └ append                     eventstore: waiting for a group ("commit" is when it was taken), and its commit
//	├ publish patient.registered   events/bus: from a batch of the relay to NATS' reply
//	├ apply patient.registered     projections: from a batch that came to its commit
//	└ wait for read tables         httpapi: from the append to when its rows can be read
//
//	GET /api/patients/{id}/
//	└ read a patient               projections: each query of read tables, waiting for a shared statement included
//
// Publish and apply are done for many requests at once, in whichever process has
// the lease, and may end after the request. What joins them to it is the
// traceparent in the events' metadata: that of the request's own span where that is
// traced, and else what the client sent. A batch has a span for each request that it
// has events of, which begin and end with the batch.
//
// # Who traces
//
// Nothing is global. The three beginnings (a request, the relay, the runner) are given a
// [trace.Tracer], nil while tracing is off. Everything below a request asks the
// context ([Start]); without a span that is recorded there it costs a look at
// the context and no memory.
//
// # What is not traced
//
//   - Events that are older than a few minutes when they are published or applied: a
//     replay, a rebuild, catching up after a long stop. The request is long over.
//   - Requests whose trace is not sampled, in any process: their events say so.
//   - What a span could tell of people: spans hold routes, types, positions and
//     counts, no paths, queries, addresses or texts of errors. The log has those that
//     it may have, with the trace's id.
//
// tracestate (W3C Trace Context, 3.3) is not kept. It is to be sent on with requests
// that follow, of which Carelog makes none, and it would stay in the log for ever: a
// text that any client may choose and that nobody here can read.
package tracing
