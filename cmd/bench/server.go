package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Settings that both servers share. The number of connections decides about
// ratios: with pgx's own default of 4 the yardstick is a third slower.
const (
	databaseConns  = 16
	secretVariable = "CARELOG_JWT_SECRET"
	secret         = "a key of the benchmark, as long as it must be"
)

// server is one of the two that are compared.
type server struct {
	name     string
	addr     string
	database *database
	cmd      *exec.Cmd
	ended    chan struct{}
	client   *http.Client // for all but the load
	stock    stock
	sent     map[string]int64 // requests of each row so far
}

func newServer(name, addr string, d *database) *server {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: databaseConns}, Timeout: 30 * time.Second}
	return &server{name: name, addr: addr, database: d, client: client, sent: map[string]int64{}}
}

// startServer starts a program that serves on addr, and waits until it is ready.
// It ends with the context.
func startServer(ctx context.Context, name, addr string, d *database, cmd *exec.Cmd, stderr io.Writer) (_ *server, err error) {
	cmd.Env = append(cmd.Environ(), "DATABASE_URL="+d.url, secretVariable+"="+secret, "TZ=UTC")
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := newServer(name, addr, d)
	s.cmd, s.ended = cmd, make(chan struct{})
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	timeout := time.After(30 * time.Second)
	for {
		if _, err := s.readiness(ctx); err == nil {
			return s, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-timeout:
			return nil, fmt.Errorf("%s is not ready after 30 seconds", name)
		case <-s.ended:
			return nil, fmt.Errorf("%s has ended: %v", name, cmd.ProcessState)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// startCarelog starts the program as users do, with its own NATS inside. It
// logs warnings only: the yardstick writes no line for each request either.
func startCarelog(ctx context.Context, program, logLevel, dir string, d *database, stderr io.Writer) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "serve")
	cmd.Dir = dir // where there is no .env
	cmd.Env = append(os.Environ(),
		"CARELOG_ADDR="+addr,
		"CARELOG_DATA_DIR="+dir,
		"CARELOG_DB_MAX_CONNS="+strconv.Itoa(databaseConns),
		"CARELOG_LOG_LEVEL="+logLevel,
		"CARELOG_ACCESS_TOKEN_LIFETIME=24h",
		"CARELOG_REFRESH_TOKEN_LIFETIME=24h",
		"NATS_URL=")
	return startServer(ctx, carelogName, addr, d, cmd, stderr)
}

func startYardstick(ctx context.Context, d *database, stderr io.Writer) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "yardstick", "-addr", addr)
	return startServer(ctx, yardstickName, addr, d, cmd, stderr)
}

const (
	carelogName   = "Carelog"
	yardstickName = "yardstick"
)

// freeAddr is an address that nobody listened on a moment ago.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// readiness is what /readyz tells: of Carelog how far the read tables are, and
// of which events they were made; of the yardstick nothing.
type readiness struct {
	Projections []struct{ Lag int64 }
	Applied     struct {
		FromBus int64 `json:"from_bus"`
		FromLog int64 `json:"from_log"`
	}
}

func (s *server) readiness(ctx context.Context) (readiness, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.addr+"/readyz", nil)
	if err != nil {
		return readiness{}, err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return readiness{}, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return readiness{}, fmt.Errorf("%s: %s", request.URL, answer.Status)
	}
	var r readiness
	return r, json.NewDecoder(answer.Body).Decode(&r)
}

// settle waits until the server has nothing left to do, so that none of it falls
// into the other's turn.
func (s *server) settle(ctx context.Context) (readiness, error) {
	const patience = time.Minute
	for begin := time.Now(); ; {
		r, err := s.readiness(ctx)
		if err != nil {
			return r, err
		}
		var lag int64
		for _, p := range r.Projections {
			lag = max(lag, p.Lag)
		}
		if lag == 0 {
			return r, nil
		}
		if time.Since(begin) > patience {
			return r, fmt.Errorf("the read tables are still %d events behind after %v", lag, patience)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.ended:
			return r, fmt.Errorf("%s has ended: %v", s.name, s.cmd.ProcessState)
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// stop ends the server in good order.
func (s *server) stop() {
	s.client.CloseIdleConnections() // they would be waited for
	s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
}
