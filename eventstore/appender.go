package eventstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/carelog/carelog/events"
)

// appendLock is the advisory lock of everything that appends to the log of a
// database: "carelog" in ASCII.
const appendLock int64 = 0x6361_7265_6c6f_67

// appendedChannel is where other processes are told of appends.
const appendedChannel = "carelog_appended"

// appenderSettings are those of the appender's connection.
var appenderSettings = map[string]string{
	"default_transaction_isolation": "read committed", // numbering needs the statement's own snapshot
	"synchronous_commit":            "on",             // an answer promises durability
	"plan_cache_mode":               "force_generic_plan",
	"enable_seqscan":                "off", // on a log that was never analysed a scan looks cheap
	"enable_bitmapscan":             "off",
	"jit":                           "off",
	// A holder of the lock that hangs would stop every writer:
	"lock_timeout":                        "10s",
	"statement_timeout":                   "20s",
	"idle_in_transaction_session_timeout": "10s",
	"client_connection_check_interval":    "1s",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "10000",
}

// connect makes the connection where there is none.
func (a *appender) connect(ctx context.Context) error {
	if a.conn != nil && !a.conn.IsClosed() {
		return nil
	}
	config := a.store.config.Appender.Copy()
	if config.RuntimeParams == nil {
		config.RuntimeParams = map[string]string{}
	}
	maps.Copy(config.RuntimeParams, appenderSettings)
	a.name = "carelog appender " + uuid.NewString()
	config.RuntimeParams["application_name"] = a.name
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect the appender: %w", classify(err))
	}
	a.conn = conn
	return nil
}

func (a *appender) disconnect() {
	if a.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = a.conn.Close(ctx) // nothing is under way on it
	}
}

// settle finds out what became of a group whose connection was lost during its
// transaction, before anybody is answered. The old session may still be alive,
// even waiting for the lock, so it is ended first: after that the events are
// stored or never will be.
func (a *appender) settle(ctx context.Context, group []*request, cause error) {
	lost := a.name
	for try := 0; ; try++ {
		stored, err := a.outcome(ctx, lost, group)
		if err == nil {
			a.answerSettled(group, stored, cause)
			return
		}
		if ctx.Err() != nil {
			for _, r := range group {
				r.refuse(fmt.Errorf("%w: %w", events.ErrOutcomeUnknown, cause))
			}
			return
		}
		a.store.appends.refuseWaiting(err) // they are not stored, so they need not wait
		pause(ctx, backoff(try))
	}
}

// outcome answers the positions of the group's last events, by event id.
func (a *appender) outcome(ctx context.Context, lost string, group []*request) (map[uuid.UUID]events.Position, error) {
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	for {
		var alive int
		err := a.conn.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1`, lost).Scan(&alive)
		if err != nil {
			return nil, fmt.Errorf("end the lost session: %w", classify(err))
		}
		if alive == 0 {
			break
		}
		pause(ctx, backoff(0))
	}
	ids := make([]uuid.UUID, len(group))
	for i, r := range group {
		ids[i] = r.events[len(r.events)-1].ID
	}
	rows, err := a.conn.Query(ctx, `select id, position from events where id = any($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("ask for the outcome of a commit: %w", classify(err))
	}
	stored := map[uuid.UUID]events.Position{}
	var id uuid.UUID
	var position events.Position
	_, err = pgx.ForEachRow(rows, []any{&id, &position}, func() error {
		stored[id] = position
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the outcome of a commit: %w", classify(err))
	}
	return stored, nil
}

func (a *appender) answerSettled(group []*request, stored map[uuid.UUID]events.Position, cause error) {
	head := events.Position(0)
	for _, r := range group {
		position, found := stored[r.events[len(r.events)-1].ID]
		if !found {
			r.refuse(fmt.Errorf("append: %w", cause))
			continue
		}
		head = max(head, position)
		r.answer <- answer{last: position}
	}
	if head > 0 {
		a.store.recent.look()
		if a.store.config.OnAppend != nil {
			a.store.config.OnAppend(head)
		}
	}
}

const separator = "\x1f" // joins lists of tags, see append.sql

// appendArguments turns a group into the parameters of append.sql.
func appendArguments(group []*request) []any {
	var (
		probeMember         []int32
		probeTag, probeType []*string
		probeAfter          []int64
		probeFurther        []*string

		member, version             []int32
		ids                         []uuid.UUID
		types, tags, data, metadata []string
		salts                       [][]byte
	)
	for m, r := range group {
		for _, item := range r.condition.FailIfMatch {
			for _, p := range probes(item) {
				probeMember = append(probeMember, int32(m))
				probeTag, probeType = append(probeTag, p.tag), append(probeType, p.eventType)
				probeAfter = append(probeAfter, int64(r.condition.After))
				probeFurther = append(probeFurther, p.further)
			}
		}
		random := make([]byte, 16*len(r.events))
		_, _ = rand.Read(random) // never fails, as its documentation promises
		for i, e := range r.events {
			member, version = append(member, int32(m)), append(version, int32(e.SchemaVersion))
			ids = append(ids, e.ID)
			types = append(types, string(e.Type))
			tags = append(tags, joinTags(e.Tags))
			data, metadata = append(data, string(e.Data)), append(metadata, string(e.Metadata))
			salts = append(salts, random[16*i:16*i+16])
		}
	}
	return []any{probeMember, probeTag, probeType, probeAfter, probeFurther,
		member, ids, types, version, tags, data, metadata, salts}
}

type probe struct{ tag, eventType, further *string }

// probes splits a query item into index probes: one for each of its types, on
// its first tag; further tags are compared with the events found.
func probes(item events.QueryItem) []probe {
	var p probe
	if len(item.Tags) > 0 {
		tag := string(item.Tags[0])
		p.tag = &tag
	}
	if len(item.Tags) > 1 {
		further := joinTags(item.Tags[1:])
		p.further = &further
	}
	if len(item.Types) == 0 {
		return []probe{p}
	}
	all := make([]probe, len(item.Types))
	for i, t := range item.Types {
		eventType := string(t)
		all[i] = probe{tag: p.tag, eventType: &eventType, further: p.further}
	}
	return all
}

func joinTags(tags []events.Tag) string {
	var b strings.Builder
	for i, tag := range tags {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(string(tag))
	}
	return b.String()
}
