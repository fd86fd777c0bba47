package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/events/bus"
	"github.com/carelog/carelog/events/cloudevent"
)

func newReplayCommand() *cobra.Command {
	var part logPart
	var to, prefix string
	var rate eventRate
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay --to <nats | stdout>",
		Short: "Publish events of the log once more",
		Long: `Publish events of the log once more, all of them or those that the flags select:
the same CloudEvents in JSON that the server published, in order of position. It
changes nothing, and so leaves no event.

To stdout it writes one document a line. To NATS, which NATS_URL names, it publishes
on subjects of its own, carelog.replay.<id>.<entity>.<action>, each time with another
id, and with the header Carelog-Replay: <id>, so that nobody takes old events for new
ones. The NATS stream CARELOG is not touched. Whoever is subscribed to the subjects
gets the events; where a NATS stream stores them, as one that was made for that, it
acknowledges each.

` + partHelp + `

What was done is told on the standard error. Exit status: 0 done, 1 an error, 2 a
mistake in the command line or in the configuration.`,
		Args:              checked(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			selected, err := part.selection(events.NewRegistry())
			switch {
			case err != nil:
			case to != "nats" && to != "stdout":
				err = errors.New("--to: write nats or stdout")
			case to == "stdout" && cmd.Flags().Changed("subject-prefix"):
				err = errors.New("--subject-prefix: only with --to nats")
			default:
				err = bus.CheckReplayPrefix(prefix)
			}
			if err != nil {
				return &usageError{err, cmd.CommandPath()}
			}
			return operate(cmd, func(ctx context.Context, o *operator) error {
				if err := part.resolve(ctx, o, &selected); err != nil {
					return err
				}
				r := replayRun{operator: o, pace: rate.pace(), progress: newProgress(cmd.ErrOrStderr(), "events")}
				if to == "stdout" {
					r.progress = nil // a terminal would show it among the documents
					err = r.toStdout(ctx, selected, cmd.OutOrStdout())
				} else {
					err = r.toNATS(ctx, selected, prefix)
				}
				return errors.Join(err, r.tell(cmd.ErrOrStderr(), asJSON))
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&to, "to", "", "where to: `nats or stdout`")
	part.addFlags(cmd)
	flags.Var(&rate, "rate", "at most so many events a second, as `500/s` (default: as fast as it goes)")
	flags.StringVar(&prefix, "subject-prefix", bus.ReplayPrefix, "first `words` of the NATS subjects")
	flags.BoolVar(&asJSON, "json", false, "tell what was done as JSON")
	addOperatorSettings(flags)
	completeFlag(cmd, "to", "nats", "stdout")
	completeFlag(cmd, "rate")
	completeFlag(cmd, "subject-prefix")
	return cmd
}

// eventRate is the value of a flag: events a second, 0 for any.
type eventRate float64

// Set implements [pflag.Value].
func (r *eventRate) Set(text string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
	if err != nil || !(n > 0) || n > 1e9 {
		return errors.New("write a number of events a second, as 500/s")
	}
	*r = eventRate(n)
	return nil
}

// String implements [pflag.Value].
func (r *eventRate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*r), 'f', -1, 64) + "/s"
}

// Type implements [pflag.Value].
func (r *eventRate) Type() string { return "rate" }

func (r *eventRate) pace() pace { return pace{rate: float64(*r), began: time.Now()} }

// pace keeps to a rate.
type pace struct {
	rate  float64 // events a second; 0: any
	began time.Time
}

// early is how long before its time the next event is, after so many.
func (p pace) early(done int64) time.Duration {
	if p.rate == 0 {
		return 0
	}
	return time.Until(p.began.Add(time.Duration(float64(done) / p.rate * float64(time.Second))))
}

// replayed tells what a replay has done.
type replayed struct {
	Replay   string          `json:"replay,omitempty"` // the id, in NATS
	Subjects string          `json:"subjects,omitempty"`
	Stream   string          `json:"stream,omitempty"` // the NATS stream that stored the events
	Log      uuid.UUID       `json:"log"`
	Events   int64           `json:"events"`
	First    events.Position `json:"first"` // 0 for none, here and below
	Last     events.Position `json:"last"`
	Seconds  float64         `json:"seconds"`
}

// replayRun is one replay.
type replayRun struct {
	*operator
	pace     pace
	progress *progress // nil: none is shown
	done     replayed
}

// replayBatch is how many events are published at a time.
const replayBatch = 500

// each hands the events to publish, so many at a time, at the pace.
func (r *replayRun) each(ctx context.Context, selected events.Selection, publish func([]events.Recorded) error) error {
	r.done.Log = r.store.LogID()
	if selected.Until == 0 {
		head, err := r.store.Head(ctx)
		if err != nil {
			return err
		}
		selected.Until = head // what is appended meanwhile is published by the server
	}
	if selected.Until <= selected.After {
		return nil
	}
	batch := make([]events.Recorded, 0, replayBatch)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := publish(batch); err != nil {
			return err
		}
		if r.done.Events == 0 {
			r.done.First = batch[0].Position
		}
		r.done.Events, r.done.Last = r.done.Events+int64(len(batch)), batch[len(batch)-1].Position
		if r.progress != nil {
			r.progress.show(int64(r.done.Last-selected.After), int64(selected.Until-selected.After))
		}
		batch = batch[:0]
		return nil
	}
	for row, err := range readAhead(r.store.Rows(ctx, selected)) {
		if err != nil {
			return err
		}
		early := r.pace.early(r.done.Events + int64(len(batch)))
		if len(batch) == replayBatch || early > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		if early > time.Millisecond && !pause(ctx, early) {
			return ctx.Err()
		}
		batch = append(batch, row.Recorded)
	}
	return flush()
}

// readAhead reads on while what was read is dealt with, up to three batches.
func readAhead[T any](rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	type batch struct {
		rows []T
		err  error
	}
	return func(yield func(T, error) bool) {
		batches, gone := make(chan batch, 2), make(chan struct{})
		var reader sync.WaitGroup
		defer reader.Wait()
		defer close(gone)
		reader.Go(func() {
			defer close(batches)
			var b batch
			hand := func() bool {
				defer func() { b = batch{} }()
				select {
				case batches <- b:
					return true
				case <-gone:
					return false
				}
			}
			for row, err := range rows {
				if b.err = err; err == nil {
					b.rows = append(b.rows, row)
				}
				if (err != nil || len(b.rows) == replayBatch) && (!hand() || err != nil) {
					return
				}
			}
			hand()
		})
		for b := range batches {
			for _, row := range b.rows {
				if !yield(row, nil) {
					return
				}
			}
			if b.err != nil {
				var none T
				yield(none, b.err)
				return
			}
		}
	}
}

// toStdout writes a document a line.
func (r *replayRun) toStdout(ctx context.Context, selected events.Selection, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	err := r.each(ctx, selected, func(evs []events.Recorded) error {
		for _, e := range evs {
			line = appendDocumentLine(line[:0], r.done.Log, e)
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		if r.pace.rate > 0 {
			return out.Flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// appendDocumentLine appends a document and a line break. Data with line breaks, which
// Carelog does not write, loses them.
func appendDocumentLine(line []byte, log uuid.UUID, e events.Recorded) []byte {
	if bytes.ContainsAny(e.Data, "\r\n") {
		var compact bytes.Buffer
		if json.Compact(&compact, e.Data) == nil {
			e.Data = compact.Bytes()
		}
	}
	return append(cloudevent.Append(line, log, e), '\n')
}

// errNoNATS: the server inside a process has no address.
var errNoNATS = &configError{[]string{"NATS_URL: not set: the NATS server inside `carelog serve` takes no connections of others, " +
	"so there is nobody to replay to: run one, set NATS_URL for the servers and for this, or use --to stdout"}}

func (r *replayRun) toNATS(ctx context.Context, selected events.Selection, prefix string) error {
	if r.config.NATSURL == "" {
		return errNoNATS
	}
	conn, err := bus.Connect(bus.ConnConfig{URL: r.config.NATSURL, Name: "carelog replay", Logger: r.logger})
	if err != nil {
		return err
	}
	defer conn.Close()
	to, err := bus.OpenReplay(ctx, conn, prefix)
	if err != nil {
		return err
	}
	defer to.Close()
	defer r.progress.end()
	r.done.Replay, r.done.Subjects, r.done.Stream = to.ID(), to.Subjects(), to.Stream()
	r.pace.began = time.Now()
	err = r.each(ctx, selected, func(evs []events.Recorded) error { return to.Publish(ctx, r.done.Log, evs) })
	if err != nil && r.done.Last > 0 {
		return fmt.Errorf("%w; --after %d goes on there", err, r.done.Last)
	}
	return err
}

// tell says what was done, as far as it got.
func (r *replayRun) tell(w io.Writer, asJSON bool) error {
	if r.done.Log == uuid.Nil {
		return nil // nothing was begun
	}
	took := time.Since(r.pace.began)
	r.done.Seconds = took.Seconds()
	if asJSON {
		return json.NewEncoder(w).Encode(r.done)
	}
	text := fmt.Sprintf("replayed %d events, positions %d to %d, in %.1f s (%.0f a second)", r.done.Events, r.done.First, r.done.Last, r.done.Seconds, float64(r.done.Events)/r.done.Seconds)
	if r.done.Events == 0 {
		text = "replayed no events: none are selected"
	}
	if r.done.Subjects != "" {
		text += ", to " + r.done.Subjects
		if r.done.Stream != "" {
			text += ", which the NATS stream " + r.done.Stream + " has stored"
		}
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
