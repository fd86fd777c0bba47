package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/carelog/carelog/commands"
	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/projections"
	"github.com/carelog/carelog/projections/feed"
	"github.com/carelog/carelog/projections/history"
)

// Config is what the API is made of. What has no default must be given.
type Config struct {
	Commands Commands
	Queries  Queries
	Progress Progress
	Log      Log
	History  History
	Feed     Feed
	Types    []events.Type // of events, all there are
	Accounts Accounts
	Ready    func(context.Context) Readiness // what /readyz answers
	Scrape   http.Handler                    // what /metrics answers; default 404
	Metrics  prometheus.Registerer           // of the API; default nowhere
	Logger   *slog.Logger
	Tracer   trace.Tracer // of requests; nil: tracing is off

	TokenKey        []byte        // signs tokens with HS256; at least MinTokenKey bytes
	OtherTokenKeys  [][]byte      // whose tokens are good as well, for a rotation of keys; default none
	AccessLifetime  time.Duration // of an access token; default 5 minutes
	RefreshLifetime time.Duration // of a refresh token; default 1 day

	AllowedOrigins []string       // that browsers may call from, like "https://app.example.com", exactly; default none
	HSTS           bool           // send Strict-Transport-Security on plain connections too: TLS ends in front of this process; default false
	Throttle       Throttle       // of login and registration; default no limits
	TrustedProxies []netip.Prefix // whose X-Forwarded-For tells the client's address; IPv4 not mapped into IPv6; default none
	Bounds         Bounds         // of what is under way at once
	RequestTimeout time.Duration  // for everything after the headers; longer than Progress waits; default 10 seconds

	Version string           // shown on the welcome page; default "unknown"
	Now     func() time.Time // tokens are issued and checked by it, and throttles count; default time.Now
}

// MinTokenKey is how many bytes a key for HS256 has at least (RFC 7518, 3.2).
const MinTokenKey = 32

// Commands decides and stores changes. Every method answers the position that
// the decision was taken on, with a refusal too. [commands.Service] is one.
type Commands interface {
	RegisterUser(context.Context, commands.Caller, commands.RegisterUser) (int64, events.Position, error)
	UserByEmail(ctx context.Context, email string) (int64, events.Position, error)
	UserByID(ctx context.Context, id int64) (events.Position, error)

	RegisterPatient(context.Context, commands.Caller, commands.RegisterPatient) (commands.Patient, events.Position, error)
	AmendPatient(context.Context, commands.Caller, commands.AmendPatient) (commands.Patient, events.Position, error)
	RemovePatient(context.Context, commands.Caller, commands.RemovePatient) (events.Position, error)

	RegisterDoctor(context.Context, commands.Caller, commands.RegisterDoctor) (commands.Doctor, events.Position, error)
	AmendDoctor(context.Context, commands.Caller, commands.AmendDoctor) (commands.Doctor, events.Position, error)
	RemoveDoctor(context.Context, commands.Caller, commands.RemoveDoctor) (events.Position, error)

	MapDoctor(context.Context, commands.Caller, commands.MapDoctor) (commands.Mapping, events.Position, error)
	UnmapDoctor(ctx context.Context, caller commands.Caller, id int64) (events.Position, error)

	AmendUser(context.Context, commands.Caller, commands.AmendUser) (commands.User, events.Position, error)
}

// Queries reads the read tables. The methods that take a session check it, and
// the user's state, in the same statement. [projections.Queries] is one.
type Queries interface {
	NewSession(ctx context.Context, user int64) (projections.Session, error)
	CheckSession(ctx context.Context, user projections.Session) (events.Position, error)
	Account(ctx context.Context, user projections.Session) (projections.User, error)
	User(ctx context.Context, user projections.Session, id int64) (projections.User, error)
	AllUsers(ctx context.Context, user projections.Session) ([]projections.User, error)
	UsersPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.User], error)
	Patient(ctx context.Context, user projections.Session, id int64) (projections.Patient, error)
	Patients(ctx context.Context, user projections.Session) ([]projections.Patient, error)
	PatientsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Patient], error)
	Doctor(ctx context.Context, user projections.Session, id int64) (projections.Doctor, error)
	Doctors(ctx context.Context, user projections.Session) ([]projections.Doctor, error)
	DoctorsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Doctor], error)
	Mappings(ctx context.Context, user projections.Session) ([]projections.Mapping, error)
	MappingsPage(ctx context.Context, user projections.Session, limit, offset int64) (projections.Page[projections.Mapping], error)
	PatientMappings(ctx context.Context, user projections.Session, patient int64) ([]projections.Mapping, error)
	PatientMappingsPage(ctx context.Context, user projections.Session, patient, limit, offset int64) (projections.Page[projections.Mapping], error)
	DoctorEmailTaken(ctx context.Context, email string, except int64) (bool, error)
	UserEmailTaken(ctx context.Context, email string) (bool, error)
}

// Progress tells how far the read tables are. [projections.Progress] is one.
type Progress interface {
	Wait(context.Context, events.Position) error // until the read tables contain it
	Live() error                                 // nil, or why they will not contain anything new
	Restarts() int64                             // how often they were found at an earlier position than before
}

// Log knows how many events there are, and when they were recorded.
type Log interface {
	Head(context.Context) (events.Position, error)

	// PositionAt answers the last position at a time, or before; [events.ErrFuture].
	PositionAt(context.Context, time.Time) (events.Position, error)

	// Reconnects counts how often it has lost the database, behind which may be another
	// state afterwards.
	Reconnects() int64
}

// History answers what happened, and how records were at a position of the log.
// [history.Reader] is one.
type History interface {
	History(ctx context.Context, of history.Subject, viewer history.Viewer, after events.Position, limit int) (history.Page, error)

	Patient(ctx context.Context, id int64, viewer history.Viewer, at events.Position) (projections.Patient, error)
	Patients(ctx context.Context, owner int64, at events.Position) ([]projections.Patient, error)
	Doctor(ctx context.Context, id int64, at events.Position) (projections.Doctor, error)
	Doctors(ctx context.Context, at events.Position) ([]projections.Doctor, error)
	Mappings(ctx context.Context, owner int64, at events.Position) ([]projections.Mapping, error)
	PatientMappings(ctx context.Context, owner, patient int64, at events.Position) ([]projections.Mapping, error)
}

// Feed answers what happened, and what happens. [feed.Hub] is one.
type Feed interface {
	// Source names the log, as in each of its events.
	Source() string

	// Head answers where the last event stands.
	Head(context.Context) (feed.Place, error)

	// Check fails with [feed.ErrWentBack] where the log does not have an event any more.
	Check(context.Context, feed.Place) error

	// Read answers the events that the filter lets through, after a position and up
	// to another.
	Read(ctx context.Context, filter feed.Filter, after, until events.Position) iter.Seq2[feed.Event, error]

	// Follow begins to follow new events.
	Follow(after feed.Place) *feed.Follower

	// While returns a context that ends also when the feed stops, with the cause
	// [feed.ErrStopped]. Done must be called.
	While(context.Context) (while context.Context, done func())
}

// Accounts keeps what must not be in the log: password hashes and the refresh
// tokens that were used. Its errors for a database that cannot be reached wrap
// [events.ErrUnavailable].
type Accounts interface {
	// HashPassword answers [ErrBusy] when too many passwords are being hashed.
	HashPassword(ctx context.Context, password string) (hash string, err error)

	// VerifyPassword tells whether this is the user's password. For user 0 it
	// does the same work in vain, so that the time an answer takes does not tell
	// whether there is such a user. It answers [ErrBusy] like HashPassword.
	VerifyPassword(ctx context.Context, user int64, password string) (bool, error)

	// Rotate ends a refresh token in favour of its successor. It answers
	// [ErrTokenReused] when that was done before, and [ErrTokenRevoked] when the
	// token's family was ended.
	Rotate(context.Context, RotateToken) error
}

// RotateToken names a refresh token that was presented, and the one that takes
// its place.
type RotateToken struct {
	JTI     string // the token's id
	UserID  int64
	Expires time.Time // after which the token needs no remembering

	SuccessorJTI     string
	SuccessorExpires time.Time
}

// What [Accounts] may answer.
var (
	ErrBusy         = errors.New("too many passwords are being hashed")
	ErrTokenReused  = errors.New("the refresh token was used before")
	ErrTokenRevoked = errors.New("the refresh token was revoked")
)

// api is what handlers are methods of.
type api struct {
	commands   Commands
	queries    Queries
	progress   Progress
	log        Log
	history    History
	feed       Feed
	types      []events.Type
	open       openStreams
	accounts   Accounts
	tokens     *tokens
	throttles  *throttles
	admissions admissions
	bodies     *room // large ones
	answers    *room // long ones
	ready      *looks[Readiness]
	scrape     http.Handler // nil: there is no such route
	metrics    *metrics
	documents  documents
	docs       docs
	logger     *slog.Logger // to be given the context of a request, where there is one
	tracer     trace.Tracer
	version    string
}

// New returns the handler of the whole API.
func New(config Config) (http.Handler, error) {
	for _, key := range slices.Concat([][]byte{config.TokenKey}, config.OtherTokenKeys) {
		if len(key) < MinTokenKey {
			return nil, fmt.Errorf("a key of tokens has %d bytes, it needs %d or more", len(key), MinTokenKey)
		}
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	documents, err := newDocuments()
	if err != nil {
		return nil, err
	}
	docs, err := newDocs()
	if err != nil {
		return nil, err
	}
	logger := slog.New(requestLog{config.Logger.Handler()})
	a := &api{
		commands:  config.Commands,
		queries:   config.Queries,
		progress:  config.Progress,
		log:       config.Log,
		history:   config.History,
		feed:      config.Feed,
		types:     config.Types,
		accounts:  config.Accounts,
		ready:     newLooks(config.Ready),
		scrape:    config.Scrape,
		documents: documents,
		docs:      docs,
		logger:    logger,
		tracer:    config.Tracer,
		version:   cmp.Or(config.Version, "unknown"),
		tokens: newTokens(newKeys(config.TokenKey, config.OtherTokenKeys...), config.Now,
			cmp.Or(config.AccessLifetime, 5*time.Minute),
			cmp.Or(config.RefreshLifetime, 24*time.Hour)),
		open:       openStreams{of: map[int64]int{}},
		throttles:  newThrottles(config.Throttle, config.TrustedProxies, config.Now),
		admissions: newAdmissions(config.Bounds, logger),
		bodies:     &room{size: cmp.Or(config.Bounds.LargeBodies, defaultBounds.LargeBodies)},
		answers:    &room{size: cmp.Or(config.Bounds.LongAnswers, defaultBounds.LongAnswers)},
	}
	a.metrics = newMetrics(a.routes(), config.Metrics)
	a.registerLimits(config.Metrics)

	handler := a.shed(a.router(len(config.AllowedOrigins) > 0))
	handler = cross(config.AllowedOrigins, handler)
	handler = a.limit(cmp.Or(config.RequestTimeout, 10*time.Second), handler)
	handler = secure(config.HSTS, handler)
	handler = a.recoverPanics(handler)
	return a.identify(handler), nil
}

// NewServer returns a server for the handler with limits on what a client may
// send and how long it may take. Headers, the request line included, may have
// half a MiB: enough for [api.limit] to answer 414 itself to all but absurd
// URLs. What is larger gets Go's own plain 431. There are no more connections
// than most. Metrics of the connections are registered, unless the registerer is
// nil.
func NewServer(handler http.Handler, most int, registerer prometheus.Registerer, logger *slog.Logger) *http.Server {
	connections := newConnections(most, logger)
	connections.register(registerer)
	return &http.Server{
		Handler:           count(handler),
		ConnState:         connections.change,
		ConnContext:       connections.tell,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second, // the body included: at most 1 MiB
		WriteTimeout:      60 * time.Second, // the body, the handler and a long list to a slow reader
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    512 << 10,

		DisableGeneralOptionsHandler: true, // OPTIONS * gets a 404 like every unknown path

		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          100, // requests that a connection has at once (RFC 9113, 6.5.2: no fewer)
			MaxReceiveBufferPerConnection: 128 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
			WriteByteTimeout:              sendWithin, // a client that takes nothing from TCP is gone: deadlines of answers are sent behind what it does not take
		},

		ErrorLog: log.New(serverLog{logger}, "", 0),
	}
}

// serverLog tells what net/http has to say. Handshakes and greetings fail all the time,
// for whoever tries a port, and quote the client: they go into the log for debugging alone.
type serverLog struct{ logger *slog.Logger }

func (l serverLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) || bytes.HasPrefix(line, []byte("http2: server: error reading preface")) {
		level = slog.LevelDebug
	}
	l.logger.Log(context.Background(), level, string(bytes.TrimSuffix(line, []byte("\n"))))
	return len(line), nil
}
