package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/events"
	"github.com/carelog/carelog/httpapi"
	"github.com/carelog/carelog/projections"
)

// program is the whole server. It is made, run once, and closed.
type program struct {
	config   Config
	logger   *slog.Logger
	listener net.Listener
	tls      *tls.Config                  // nil: HTTP
	handler  atomic.Pointer[http.Handler] // what is served: the API, once it is there
	metrics  *metrics
	running  chan struct{}
	notify   func(state string)   // tells the service manager
	registry projections.Registry // of the events that are applied; tests set that of a newer program
	bounds   httpapi.Bounds       // of what is served at once; tests lower them
	silence  time.Duration        // of the bus, before the log is read; tests that count what came over it raise it

	tracer   trace.Tracer // nil while tracing is off
	postgres *postgres    // nil with a DATABASE_URL
	nats     *natsServer  // nil with a NATS_URL

	between between
}

// between is where tests step in; nothing does in the program itself. The
// functions are asked once, when the pipeline is made.
type between struct {
	progress func(httpapi.Progress) httpapi.Progress // commands and the read tables
	deliver  func(deliver) deliver                   // the bus and the runner
}

// deliver applies a batch that came over the bus.
type deliver func(context.Context, []events.Recorded) error

// newProgram listens, so that an address that cannot be had is known at once.
// Requests are answered when Run is running.
func newProgram(config Config, logger *slog.Logger) (*program, error) {
	listener, err := net.Listen("tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("%w: set CARELOG_ADDR to another address, or to port 0 for any that is free", err)
	}
	p := &program{config: config, logger: logger, listener: listener, running: make(chan struct{}), notify: func(string) {}, registry: events.NewRegistry()}
	if p.metrics, err = newMetrics(config, logger); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	pair, _ := config.keyPairs()
	if p.tls, err = pair.tlsConfig(p.metrics.process, logger); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	starting := httpapi.Starting(p.metrics.besideAPI())
	p.handler.Store(&starting)
	if config.DatabaseURL == "" {
		p.postgres = newPostgres(postgresOptions{
			Dir:         filepath.Join(config.DataDir, "postgres"),
			BinDir:      config.PostgresBin,
			StopTimeout: config.ShutdownTimeout / 3,
			Logger:      logger,
		})
	}
	if config.NATSURL == "" {
		options, err := config.natsOptions(p.metrics.process, logger)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.nats = newNATS(options)
	}
	return p, nil
}

// URL is where the API is served.
func (p *program) URL() string {
	if p.tls != nil {
		return "https://" + p.listener.Addr().String()
	}
	return "http://" + p.listener.Addr().String()
}

// Running is closed when the API answers. It stays open when Run fails before
// that.
func (p *program) Running() <-chan struct{} { return p.running }

// Close frees the addresses, also when Run was never called.
func (p *program) Close() error {
	p.metrics.close()
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run serves until the context ends, then finishes what was accepted and returns
// nil, all within the shutdown timeout: half of it is for requests and the read
// tables, a third for PostgreSQL, the rest for spans that are not sent yet. It waits for a database and a NATS server
// that are still coming up, and for ever for ones that went away.
//
// It stops in this order:
//
//  1. no more requests are taken, those that were are finished
//  2. the read tables take in what was appended
//  3. the pipeline stops
//  4. PostgreSQL and NATS stop, where they are this process's own
//  5. the last spans are sent, where tracing is on
func (p *program) Run(ctx context.Context) error {
	if p.config.Traces {
		traces, err := openTraces(p.logger)
		if err != nil {
			return err
		}
		defer traces.close(min(2*time.Second, p.config.ShutdownTimeout/6))
		p.tracer = traces.tracer
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	own, stopOwn := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOwn()
	servers, own := errgroup.WithContext(own)
	defer context.AfterFunc(own, stop)() // a server that fails for good ends the rest
	if p.postgres != nil {
		servers.Go(func() error { return p.postgres.Run(own) })
	}
	if p.nats != nil {
		servers.Go(func() error { return p.nats.Run(own) })
	}
	servers.Go(func() error {
		defer stopOwn()
		return p.serve(ctx)
	})
	return servers.Wait()
}

// serve answers requests from the beginning, with "starting" until the pipeline
// runs.
func (p *program) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := httpapi.NewServer(http.HandlerFunc(p.serveHTTP), p.maxConnections(), p.metrics.process, p.logger)
	var parts errgroup.Group
	parts.Go(func() error {
		defer stop() // whoever watches would see nothing
		return p.metrics.serve(ctx, p.logger)
	})
	parts.Go(func() error {
		defer stop() // without requests there is nothing to do
		if err := p.accept(server); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	parts.Go(func() error {
		return errors.Join(p.runPipeline(ctx, server), server.Close())
	})
	return parts.Wait()
}

// accept serves HTTPS where there is a certificate, else HTTP.
func (p *program) accept(server *http.Server) error {
	if p.tls == nil {
		return server.Serve(p.listener)
	}
	server.TLSConfig = p.tls
	return server.ServeTLS(p.listener, "", "")
}

// runPipeline opens the pipeline and serves the API of it, until the context ends
// or something fails for good; then it finishes what was accepted.
func (p *program) runPipeline(ctx context.Context, server *http.Server) error {
	pipeline, err := p.openPipeline(ctx)
	if ctx.Err() != nil {
		return nil // told to stop while starting
	}
	if err != nil {
		return err
	}
	defer pipeline.close()
	parts, partsCtx := errgroup.WithContext(context.WithoutCancel(ctx)) // the pipeline outlives the requests
	pipelineCtx, stopPipeline := context.WithCancel(partsCtx)
	parts.Go(func() error { return pipeline.run(pipelineCtx) })
	parts.Go(func() error {
		defer stopPipeline()
		serving, stop := context.WithCancel(partsCtx)
		defer context.AfterFunc(ctx, stop)()
		defer stop()
		p.handler.Store(&pipeline.api)
		p.metrics.pipeline.Store(pipeline.metrics)
		if pipeline.awaitRunner(serving) {
			p.logger.Info("carelog is serving", "url", p.URL(), "version", version(), "log", pipeline.store.LogID())
			close(p.running)
			p.notify(stateReady)
			<-serving.Done()
		}
		p.drain(server, pipeline)
		return nil
	})
	return parts.Wait()
}

func (p *program) serveHTTP(w http.ResponseWriter, r *http.Request) {
	(*p.handler.Load()).ServeHTTP(w, r)
}

// drain finishes the requests that were accepted, and lets the read tables take
// in what they appended.
func (p *program) drain(server *http.Server, pipeline *pipeline) {
	p.logger.Info("carelog is stopping")
	p.notify(stateStopping)
	pipeline.hub.Stop() // those who follow would be waited for in vain
	ctx, cancel := context.WithTimeout(context.Background(), p.config.ShutdownTimeout/2)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		p.logger.Warn("some requests were not finished in time", "error", err)
		return
	}
	pipeline.catchUp(ctx)
}

// answerIn is how soon what is asked in passing must be answered: a ping, a
// health check, a good-bye.
const answerIn = time.Second
