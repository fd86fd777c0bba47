package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// cluster is three NATS servers, processes of their own with the configuration of
// deploy/nats.
type cluster struct {
	nodes     map[string]*exec.Cmd // by name
	addresses map[string]string    // for clients
	passwords map[string]string    // of users
	env       []string
	dir       string
	routes    map[string]string
	output    map[string]*logBuffer
}

func newCluster(t *testing.T, subscribers ...string) *cluster {
	t.Helper()
	c := &cluster{
		nodes: map[string]*exec.Cmd{}, addresses: map[string]string{}, routes: map[string]string{}, output: map[string]*logBuffer{},
		passwords: map[string]string{"carelog": "RlTuXbqPw5"}, dir: t.TempDir(),
	}
	var config Config
	_, passwords := listen(t, &config, subscribers...)
	for name, password := range passwords {
		c.passwords[name] = password
	}
	var accounts strings.Builder
	if status := execute(t.Context(), []string{"subscribers", "accounts", "--file", config.NATSSubscribers}, &accounts, os.Stderr); status != 0 {
		t.Fatal("no accounts")
	}
	node, err := os.ReadFile("../../deploy/nats/node.conf")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"node.conf": string(node), "accounts.conf": accounts.String()} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.env = append(os.Environ(), "NATS_ROUTE_PASSWORD=Kp3vQmX8", "NATS_CARELOG_PASSWORD="+c.passwords["carelog"])
	for i, name := range []string{"n1", "n2", "n3"} {
		c.addresses[name], c.routes[name] = freeAddress(t), freeAddress(t)
		c.env = append(c.env, fmt.Sprintf("NATS_ROUTE_%d=nats://node:Kp3vQmX8@%s", i+1, c.routes[name]))
	}
	for name := range c.addresses {
		c.start(t, name)
	}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.kill(name)
		}
		if t.Failed() && testing.Verbose() {
			for name, log := range c.output {
				t.Logf("%s:\n%s", name, log)
			}
		}
	})
	eventually(t, "the cluster has a leader", time.Minute, func() bool {
		conn, err := nats.Connect(c.url("carelog"))
		if err != nil {
			return false
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return false
		}
		_, err = js.AccountInfo(t.Context())
		return err == nil
	})
	return c
}

func (c *cluster) start(t *testing.T, name string) {
	t.Helper()
	program, err := natsServerProgram()
	if err != nil {
		t.Fatalf("build nats-server: %v", err)
	}
	command := exec.Command(program, "-c", filepath.Join(c.dir, "node.conf"))
	command.Env = append(c.env, "NATS_NAME="+name, "NATS_CLIENTS="+c.addresses[name], "NATS_CLUSTER="+c.routes[name],
		"NATS_STORE="+filepath.Join(c.dir, name))
	c.output[name] = &logBuffer{}
	command.Stderr = c.output[name]
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	c.nodes[name] = command
}

// kill ends a node as a loss of power does.
func (c *cluster) kill(name string) {
	command := c.nodes[name]
	delete(c.nodes, name)
	_ = command.Process.Kill()
	_ = command.Wait()
}

// url names all nodes, for one user.
func (c *cluster) url(user string) string {
	var urls []string
	for _, address := range c.addresses {
		urls = append(urls, "nats://"+user+":"+c.passwords[user]+"@"+address)
	}
	return strings.Join(urls, ",")
}

// TestANodeOfTheClusterDies, the one that leads the NATS stream, under load: writes
// go on, nothing is lost, and a durable consumer of another system goes on.
func TestANodeOfTheClusterDies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "billing", "research")
	config := databaseConfig(t)
	config.NATSURL, config.StreamReplicas = c.url("carelog"), 3
	server := start(t, config)
	access, _ := server.register(t, "John Doe", "john@example.com", "securepassword123")

	conn, err := nats.Connect(c.url("billing"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.NewWithDomain(conn, "carelog")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "billing", AckWait: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "CARELOG")
	if err != nil {
		t.Fatal(err)
	}
	if replicas := stream.CachedInfo().Config.Replicas; replicas != 3 {
		t.Fatalf("the NATS stream has %d replicas", replicas)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var f follower
	var work sync.WaitGroup
	work.Go(func() { f.run(ctx, js, "billing") })
	var written, pending atomic.Int64
	var slowest atomic.Int64
	loading, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	for range 4 {
		work.Go(func() {
			for loading.Err() == nil {
				began := time.Now()
				got, err := server.as(access, "POST", "/api/patients/", somePatient)
				if err != nil || got.status != 201 {
					t.Errorf("a write: %d %s %v", got.status, got.body, err)
					return
				}
				if got.header.Get("Carelog-Projected") != "" {
					pending.Add(1)
				}
				written.Add(1)
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
				pause(loading, 5*time.Millisecond)
			}
		})
	}
	more := func(what string) {
		t.Helper()
		before, followed := written.Load(), f.last.Load()
		eventually(t, what, time.Minute, func() bool { return written.Load() > before+50 && f.last.Load() > followed+50 })
	}
	more("events are followed")
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader := info.Cluster.Leader
	killed := time.Now()
	c.kill(leader)
	after := written.Load() + 5 // 4 writers may have been answered by the node before it died
	eventually(t, "the consumer goes on without the node", time.Minute, func() bool { return f.last.Load() > after })
	t.Logf("followed again %v after %s was killed", time.Since(killed).Round(time.Millisecond), leader)
	more("events are followed without a node")
	c.start(t, leader)
	more("events are followed with the node again")
	stopLoad()
	eventually(t, "every event is followed", time.Minute, func() bool { return f.last.Load() == written.Load()+1 })
	stop()
	work.Wait()
	t.Logf("%d written, the slowest in %v; %d events came twice", written.Load(), time.Duration(slowest.Load()).Round(time.Millisecond), f.twice.Load())
	if pending.Load() > 0 || f.gaps.Load() > 0 {
		t.Errorf("%d pending, %d gaps", pending.Load(), f.gaps.Load())
	}
	mustEqualFold(t, config.DatabaseURL)
	c.mustBeGuarded(t, js, uint64(written.Load()+1))
}

// ask asks JetStream again where nobody answers: what is asked while nodes elect a leader
// is lost.
func ask(t *testing.T, question func() error) {
	t.Helper()
	eventually(t, "JetStream answers", 30*time.Second, func() bool {
		err := question()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// mustBeGuarded: the accounts are those of the server inside the process, so a few
// of the harms will do.
func (c *cluster) mustBeGuarded(t *testing.T, billing jetstream.JetStream, events uint64) {
	t.Helper()
	conn, err := nats.Connect(c.url("research"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, h := range harms {
		h.subject, h.body = strings.ReplaceAll(h.subject, "research", "billing"), strings.ReplaceAll(h.body, "research", "billing")
		h.send(t, conn, "$JS.API.")
		h.send(t, conn, "$JS.carelog.API.")
	}
	research, err := jetstream.NewWithDomain(conn, "carelog")
	if err != nil {
		t.Fatal(err)
	}
	ask(t, func() error {
		_, err := research.CreateConsumer(t.Context(), "CARELOG", jetstream.ConsumerConfig{Durable: "research"})
		return err
	})
	var stream jetstream.Stream
	ask(t, func() (err error) { stream, err = billing.Stream(t.Context(), "CARELOG"); return err })
	if state := stream.CachedInfo().State; state.FirstSeq != 1 || state.LastSeq != events || state.Msgs != events {
		t.Errorf("the NATS stream has %d messages, %d to %d, and should have %d", state.Msgs, state.FirstSeq, state.LastSeq, events)
	}
	var consumer jetstream.Consumer
	ask(t, func() (err error) { consumer, err = stream.Consumer(t.Context(), "billing"); return err })
	if info := consumer.CachedInfo(); info.Config.Description != "" || info.Paused {
		t.Errorf("the consumer was changed: %+v", info.Config)
	}
}
