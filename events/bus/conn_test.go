package bus

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carelog/carelog/events/metricstest"
)

func TestNatsMayComeLater(t *testing.T) {
	nats := &restartable{t: t, options: server.Options{Host: "127.0.0.1", Port: freePort(t), StoreDir: t.TempDir()}}
	registry := prometheus.NewRegistry()
	conn := connect(t, ConnConfig{URL: nats.url(), Metrics: registry})
	if conn.Err() == nil {
		t.Fatal("connected to nothing")
	}
	lost := func() float64 { return metricstest.Gather(t, registry)["carelog_bus_disconnects_total"] }
	c := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog})
	if _, err := c.Resume(t.Context()); err == nil {
		t.Fatal("resumed from nothing")
	}
	subscriber := NewSubscriber(SubscriberConfig{Conn: conn, Logger: slog.New(slog.DiscardHandler)})
	defer subscriber.Close()
	messages, err := subscriber.Subscribe(t.Context(), AllSubjects)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscriber tells", func() bool { return subscriber.Err() != nil })

	nats.start()
	eventually(t, "connected", func() bool { return conn.Err() == nil })
	requireResume(t, c, 0)
	mustPublish(t, c, recorded(1, 1))
	requireBatch(t, messages, 1, 1)
	if lost() != 0 {
		t.Error("what was not there counts as lost")
	}
	if err := subscriber.Err(); err != nil {
		t.Error(err)
	}
	nats.stop()
	eventually(t, "the loss is counted", func() bool { return lost() == 1 })
}

// Neither a good nor a bad URL's credentials may be seen anywhere.
func TestCredentialsStaySecret(t *testing.T) {
	const password = "s3cret-w0rd"
	for _, url := range []string{
		"nats://carelog:" + password + "@127.0.0.1:notaport",
		"nats://carelog:" + password + "%zz@127.0.0.1:4222",
		"://" + password,
		"nats://carelog:" + password + "@127.0.0.1:4222,ws://127.0.0.1:4223",
	} {
		conn, err := Connect(ConnConfig{URL: url, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			conn.Close()
			t.Errorf("%s was accepted", url)
		} else if strings.Contains(err.Error(), password) {
			t.Errorf("error %q", err)
		}
	}

	for name, with := range map[string]struct {
		user, password, token string // that the server knows
		url                   string // userinfo of the client
		accepted              bool
	}{
		"password":       {user: "carelog", password: password, url: "carelog:" + password, accepted: true},
		"token":          {token: password, url: password, accepted: true},
		"wrong password": {user: "carelog", password: "other", url: "carelog:" + password},
		"wrong token":    {token: "other", url: password},
	} {
		t.Run(name, func(t *testing.T) {
			nats := &restartable{t: t, options: server.Options{Host: "127.0.0.1", Port: freePort(t), StoreDir: t.TempDir(),
				Username: with.user, Password: with.password, Authorization: with.token}}
			nats.start()
			var logged logText
			url := strings.Replace(nats.url(), "nats://", "nats://"+with.url+"@", 1)
			conn := connect(t, ConnConfig{URL: url, Logger: logged.logger(slog.LevelDebug)})
			if with.accepted != (conn.Err() == nil) {
				t.Fatal(conn.Err())
			}
			nats.stop()
			eventually(t, "the loss is noticed", func() bool { return conn.Err() != nil })
			told := conn.Err().Error()
			nats.start()
			eventually(t, "it connects again, if ever", func() bool { return !with.accepted || conn.Err() == nil })
			if told += logged.String(); strings.Contains(told, password) {
				t.Errorf("told: %s", told)
			}
		})
	}
}

// A server that refuses the credentials may take them later.
func TestRefusedCredentialsAreTriedAgain(t *testing.T) {
	nats := &restartable{t: t, options: server.Options{
		Host: "127.0.0.1", Port: freePort(t), StoreDir: t.TempDir(), Username: "carelog", Password: "other",
	}}
	nats.start()
	var logged logText
	conn := connect(t, ConnConfig{URL: strings.Replace(nats.url(), "nats://", "nats://carelog:right@", 1), Logger: logged.logger(slog.LevelInfo)})
	eventually(t, "refused three times", func() bool { return conn.nc.Stats().Reconnects >= 3 })
	if !strings.Contains(conn.Err().Error(), "Authorization Violation") || strings.Count(logged.String(), "Authorization Violation") != 1 {
		t.Errorf("error %v, logged %s", conn.Err(), logged.String())
	}
	nats.stop()
	nats.options.Password = "right"
	nats.start()
	eventually(t, "accepted", func() bool { return conn.Err() == nil })
}

func TestClosedConnection(t *testing.T) {
	conn := testBus(t)
	conn.Close()
	if conn.Err() == nil {
		t.Error("a closed connection is well")
	}
	if _, err := NewCarrier(CarrierConfig{Conn: conn, LogID: testLog}).Resume(context.Background()); err == nil {
		t.Error("resumed on a closed connection")
	}
}
