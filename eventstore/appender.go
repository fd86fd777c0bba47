package eventstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
	"lock_timeout":                        "5s",
	"statement_timeout":                   "20s",
	"idle_in_transaction_session_timeout": "10s",
	"client_connection_check_interval":    "1s",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "10000",
}

// transaction is what the groups of a store are appended by. Tests replace its
// parts, to show that they find out what goes wrong then.
type transaction struct {
	settings     map[string]string // of the connection
	lock, insert string            // the statements
}

const lockSQL = `select pg_advisory_xact_lock($1)`

// Names of the statements on the connection.
const (
	lockStatement   = "lock"
	insertStatement = "insert"
)

// connect makes the connection where there is none, and prepares its statements.
func (a *appender) connect(ctx context.Context) error {
	if a.conn != nil && !a.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := a.store.config.Appender.Copy()
	if config.RuntimeParams == nil {
		config.RuntimeParams = map[string]string{}
	}
	maps.Copy(config.RuntimeParams, a.store.transaction.settings)
	a.name = "carelog appender " + uuid.NewString()
	config.RuntimeParams["application_name"] = a.name
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect the appender: %w", classify(err))
	}
	_, err = conn.Prepare(ctx, lockStatement, a.store.transaction.lock)
	if err == nil {
		_, err = conn.Prepare(ctx, insertStatement, a.store.transaction.insert)
	}
	if err != nil {
		_ = conn.Close(ctx) // it has failed already
		return fmt.Errorf("prepare the appender: %w", classify(err))
	}
	if a.conn != nil { // one was lost
		a.store.forgetSpareIDs()
		a.store.reconnects.Add(1)
	}
	a.conn = conn
	return nil
}

// patience is how long the database may be away before those who wait to append
// are refused. What waits is not stored, so it need not wait for long; yet a
// connection that is lost and made anew should cost them nothing.
const patience = 500 * time.Millisecond

// refuseAfter refuses everybody who waits, or comes, when the database has been
// away since a time.
func (a *appender) refuseAfter(since time.Time, err error) {
	if time.Since(since) >= patience {
		a.store.appends.refuse(err)
	}
}

// reconnect makes the connection where there is none, as soon as that can be
// done. It answers false when the context ends.
func (a *appender) reconnect(ctx context.Context) bool {
	since := time.Now()
	for try := 0; ; try++ {
		err := a.connect(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			a.store.appends.admit()
			return true
		}
		a.refuseAfter(since, err)
		if try == 0 {
			a.store.config.Logger.Warn("nothing can be appended to the log, trying again", "error", err)
		}
		pause(ctx, backoff(try))
	}
}

func (a *appender) disconnect() {
	if a.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = a.conn.Close(ctx) // nothing is under way on it
	}
}

const separator = "\x1f" // joins lists of tags, see append.sql

// appendArguments turns a group into the parameters of append.sql. Their types
// are those that pgx encodes without reflection.
func appendArguments(group []*request) []any {
	var (
		probeMember         []int32
		probeTag, probeType pgtype.FlatArray[*string]
		probeAfter          []int64
		probeFurther        pgtype.FlatArray[*string]

		member, version             []int32
		ids                         [][16]byte
		types, tags, data, metadata []string
		salts                       pgtype.FlatArray[[]byte]
	)
	for m, r := range group {
		for _, condition := range r.conditions {
			for _, item := range condition.FailIfMatch {
				for _, p := range probes(item) {
					probeMember = append(probeMember, int32(m))
					probeTag, probeType = append(probeTag, p.tag), append(probeType, p.eventType)
					probeAfter = append(probeAfter, int64(condition.After))
					probeFurther = append(probeFurther, p.further)
				}
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
