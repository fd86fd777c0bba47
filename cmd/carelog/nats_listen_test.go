package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestConfigOfListening(t *testing.T) {
	const listen, subscribers = "CARELOG_NATS_LISTEN", "CARELOG_NATS_SUBSCRIBERS"
	for name, test := range map[string]struct {
		env  environment
		want string // "" for nothing
	}{
		"loopback":              {variables(listen, "127.0.0.1:4222", subscribers, "/s"), ""},
		"loopback by its name":  {variables(listen, "localhost:4222", subscribers, "/s"), ""},
		"loopback of IPv6":      {variables(listen, "[::1]:4222", subscribers, "/s"), ""},
		"nobody":                {variables(listen, "127.0.0.1:4222"), "CARELOG_NATS_SUBSCRIBERS: not set"},
		"all addresses":         {variables(listen, ":4222", subscribers, "/s"), "CARELOG_NATS_LISTEN: others can reach that address"},
		"an address":            {variables(listen, "192.0.2.1:4222", subscribers, "/s"), "CARELOG_NATS_LISTEN: others can reach that address"},
		"a name":                {variables(listen, "example.org:4222", subscribers, "/s"), "CARELOG_NATS_LISTEN: others can reach that address"},
		"with TLS":              {variables(listen, ":4222", subscribers, "/s", "CARELOG_NATS_TLS_CERT", "/c", "CARELOG_NATS_TLS_KEY", "/k"), ""},
		"knowing what one does": {variables(listen, ":4222", subscribers, "/s", "CARELOG_NATS_PLAINTEXT", "true"), ""},
		"a key that is missing": {variables("CARELOG_NATS_TLS_CERT", "/c"), "CARELOG_NATS_TLS_CERT: a certificate and its key"},
		"replicas of one":       {variables("CARELOG_STREAM_REPLICAS", "3"), "CARELOG_STREAM_REPLICAS: more than 1"},
	} {
		_, _, err := loadConfig(test.env, nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), "\n  "+test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestListeningIsRefused where nobody could connect, or something is wrong with a file.
func TestListeningIsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const hash = "$2a$04$jk4cSXNPzNbGQ0Ab5p1yBeJ3VQxUoF3wKqPzj0d8b0bXH0m1jO8yK"
	for name, test := range map[string]struct{ subscribers, address, want string }{
		"a password":          {"billing:hunter2secret\n", "127.0.0.1:0", "line 1: billing has no bcrypt hash"},
		"no name":             {"\n" + hash, "127.0.0.1:0", "line 2: does not begin with a name"},
		"a name of NATS":      {"$SYS:" + hash, "127.0.0.1:0", "line 1: does not begin with a name"},
		"Carelog's name":      {"carelog:" + hash, "127.0.0.1:0", "line 1: does not begin with a name"},
		"twice":               {"billing:" + hash + "\nbilling:" + hash, "127.0.0.1:0", "line 2: billing is there twice"},
		"more configurations": {"billing:" + hash + "\" }", "127.0.0.1:0", "line 1: billing has no bcrypt hash"},
		"address taken":       {"billing:" + hash, taken.Addr().String(), "set CARELOG_NATS_LISTEN to another address"},
	} {
		config := Config{DataDir: t.TempDir(), NATSListen: test.address, NATSSubscribers: filepath.Join(t.TempDir(), "subscribers"), StreamMaxBytes: 1 << 20}
		if err := os.WriteFile(config.NATSSubscribers, []byte(test.subscribers), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := config.natsOptions(nil, slog.New(slog.DiscardHandler))
		if err == nil {
			err = newNATS(options).Run(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "$2a$") {
			t.Errorf("%s: %v", name, err)
		}
	}
	config := Config{NATSListen: "127.0.0.1:0", NATSSubscribers: "/not/there"}
	if _, err := config.natsOptions(nil, nil); err == nil || !strings.Contains(err.Error(), "CARELOG_NATS_SUBSCRIBERS: ") {
		t.Errorf("no file: %v", err)
	}
}

// TestSubscribersWithTLS: the certificate can be renewed while the server runs, and
// the server itself needs none.
func TestSubscribersWithTLS(t *testing.T) {
	t.Parallel()
	s := &subscribed{config: databaseConfig(t)}
	s.url, s.passwords = listen(t, &s.config, "billing")
	dir := t.TempDir()
	s.config.NATSCert, s.config.NATSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writeCertificate(t, s.config.NATSCert, s.config.NATSKey)
	s.running = start(t, s.config)
	access, _ := s.register(t, "John Doe", "john@example.com", "securepassword123")
	connect := func(trusted string) error {
		conn, err := nats.Connect(s.url, nats.UserInfo("billing", s.passwords["billing"]), nats.RootCAs(trusted))
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := connect(first); err != nil {
		t.Error(err)
	}
	second := writeCertificate(t, s.config.NATSCert, s.config.NATSKey)
	if err := connect(second); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
	if err := connect(first); err == nil {
		t.Error("the old certificate is still shown")
	}
	plain, err := net.Dial("tcp", strings.TrimPrefix(s.url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	greeting := make([]byte, 4096)
	n, err := plain.Read(greeting)
	if err != nil || !bytes.Contains(greeting[:n], []byte(`"tls_required":true`)) {
		t.Errorf("TLS is not required: %s, %v", greeting[:n], err)
	}
	eventually(t, "events come over NATS", 10*time.Second, func() bool { return overBus(t, s.running, access) })
}

// TestSubscribersCommand adds subscribers and prints their accounts.
func TestSubscribersCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "subscribers")
	run := func(args ...string) (status int, stdout, stderr string) {
		var out, problems bytes.Buffer
		status = execute(t.Context(), append([]string{"subscribers", "--file", path}, args...), &out, &problems)
		return status, out.String(), problems.String()
	}
	if status, _, stderr := run("accounts"); status != exitError || !strings.Contains(stderr, "no such file") {
		t.Errorf("without a file: status %d, %s", status, stderr)
	}
	if err := os.WriteFile(path, []byte("# ours, and the last line is not ended"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"billing", "research"} {
		if status, stdout, stderr := run("add", name); status != 0 || len(strings.TrimSpace(stdout)) < 20 {
			t.Errorf("%s: status %d, %s", name, status, stderr)
		}
	}
	for name, want := range map[string]string{"billing": "already: remove its line", "Billing": "small letters", "carelog": "is not carelog", "a b": "small letters"} {
		if status, _, stderr := run("add", name); status != exitError || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, %s", name, status, stderr)
		}
	}
	if subscribers, err := readSubscribers(path); err != nil || len(subscribers) != 2 {
		t.Errorf("%d subscribers, %v", len(subscribers), err)
	}
	if status, stdout, _ := run("accounts"); status != 0 || strings.Count(stdout, "account: CARELOG") != 20 {
		t.Errorf("status %d, %s", status, stdout)
	}
}

// TestTheAccountsOfDeploy are those that the program makes without subscribers.
func TestTheAccountsOfDeploy(t *testing.T) {
	want, err := natsAccounts("$NATS_CARELOG_PASSWORD", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../deploy/nats/accounts.conf")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("deploy/nats/accounts.conf is not what `carelog subscribers accounts` prints for an empty file: write that into it")
	}
}

// TestTheServersOfDeploy disconnect who reads nothing as the one inside the process does.
func TestTheServersOfDeploy(t *testing.T) {
	for _, name := range []string{"single.conf", "node.conf"} {
		if want := fmt.Sprintf("\nmax_pending: %dMB ", maxPending>>20); !strings.Contains(readFile(t, "../../deploy/nats/"+name), want) {
			t.Errorf("deploy/nats/%s does not have %q", name, want)
		}
	}
}
