package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// ConnConfig says where NATS is.
type ConnConfig struct {
	// URL is one or more server URLs, separated by commas. It may hold
	// credentials, which never get into a log or an error text.
	URL string

	// InProcess is a NATS server inside this process, which is connected to instead of
	// where URL leads. The URL's credentials are used, if it has any.
	InProcess nats.InProcessConnProvider

	Name    string                // of this client, as the NATS server shows it; default "carelog"
	Metrics prometheus.Registerer // of all that works over the connection; default: nowhere
	Logger  *slog.Logger          // default: slog.Default()
}

// Conn is a connection to NATS that comes and goes with the server: every part
// of this package works again once it is back. It is safe for concurrent use.
type Conn struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	log       *slog.Logger
	secrets   *strings.Replacer      // takes credentials out of a text
	trouble   atomic.Pointer[string] // why there was none last, without secrets
	inProcess bool                   // the client makes an address up for that
	wasThere  atomic.Bool            // it was connected before
	session   atomic.Pointer[session]
	metrics   metrics
}

// session lasts from getting a connection to the server until losing it.
type session struct {
	context.Context
	end context.CancelFunc
}

func newSession() *session {
	ctx, end := context.WithCancel(context.Background())
	return &session{ctx, end}
}

// Connect returns at once, whether NATS can be reached or not, and goes on
// trying in the background, for ever. It fails on a URL that cannot be one.
func Connect(cfg ConnConfig) (*Conn, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Name == "" {
		cfg.Name = "carelog"
	}
	secrets, err := urlSecrets(cfg.URL)
	if err != nil {
		return nil, err
	}
	c := &Conn{log: cfg.Logger, secrets: secrets, inProcess: cfg.InProcess != nil}
	c.session.Store(newSession())
	c.metrics = newMetrics(c, cfg.Metrics)
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended on the server's side
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.Timeout(2 * time.Second),
		// A peer that is gone without a word is noticed within 15 seconds.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Nothing is kept to be sent later: a publish without a connection fails
		// at once, and the relay reads the tail of the NATS stream again.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(c.connected),
		nats.ReconnectHandler(c.connected),
		nats.DisconnectErrHandler(c.failed),
		nats.ReconnectErrHandler(c.failed),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.log.Warn("NATS reports an error", "error", c.redact(err))
		}),
	}
	address := cfg.URL
	if cfg.InProcess != nil {
		options = append(options, nats.InProcessServer(cfg.InProcess))
	}
	if c.nc, err = nats.Connect(address, options...); err != nil {
		return nil, fmt.Errorf("connect to NATS: %s", c.redact(err))
	}
	if c.js, err = jetstream.New(c.nc); err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return c, nil
}

// Close ends the connection. Whatever still uses it fails from then on.
func (c *Conn) Close() { c.nc.Close() }

// Err is nil while NATS is connected, else it says why not.
func (c *Conn) Err() error {
	if c.nc.IsConnected() && c.session.Load().Err() == nil {
		return nil
	}
	why := "no attempt has ended yet"
	if err := c.nc.LastError(); err != nil {
		why = c.redact(err)
	} else if trouble := c.trouble.Load(); trouble != nil {
		why = *trouble
	}
	return fmt.Errorf("not connected to NATS: %s", why)
}

// untilLost calls a function when the connection is lost, unless forget was
// called before. What was asked over it then will never be answered: the client
// library would wait for that.
func (c *Conn) untilLost(lost func()) (forget func() bool) {
	return context.AfterFunc(c.session.Load(), lost)
}

// await returns when NATS is connected.
func (c *Conn) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Err()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Conn) connected(nc *nats.Conn) {
	c.trouble.Store(nil)
	c.wasThere.Store(true)
	if c.session.Load().Err() != nil { // else it is the first, which began before the library told of it
		c.session.Store(newSession())
	}
	server := "in this process"
	if !c.inProcess {
		server = c.secrets.Replace(nc.ConnectedUrlRedacted())
	}
	c.log.Info("connected to NATS", "server", server)
}

// failed is called when the connection is lost and after each failed attempt to
// get it back. The same reason is logged once.
func (c *Conn) failed(_ *nats.Conn, err error) {
	session := c.session.Load()
	if session.Err() == nil && c.wasThere.Load() {
		c.metrics.lost.Inc()
	}
	session.end()
	if err == nil {
		return // closed by ourselves
	}
	why := c.redact(err)
	if before := c.trouble.Swap(&why); before == nil || *before != why {
		c.log.Warn("not connected to NATS, trying on", "error", why)
	}
}

func (c *Conn) redact(err error) string { return c.secrets.Replace(err.Error()) }

// urlSecrets returns what takes the credentials of the URLs out of a text. The
// client library puts a URL that it cannot parse into its error, so that is
// found out here.
func urlSecrets(list string) (*strings.Replacer, error) {
	var pairs []string
	hide := func(secret string) {
		if secret != "" {
			pairs = append(pairs, secret, "xxxxx")
		}
	}
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil {
			return nil, errors.New("the NATS URL is not one: write nats://host:port, with special characters of a user name or password percent-encoded")
		}
		if u.User == nil {
			continue
		}
		password, isSet := u.User.Password()
		if !isSet {
			hide(u.User.Username()) // a token
		}
		hide(password)
		hide(u.User.String())
	}
	return strings.NewReplacer(pairs...), nil
}
