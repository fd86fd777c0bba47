package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fronted is a server, what a proxy asks of it, and the proxy.
type fronted struct {
	server   *running
	spy      http.Handler                // in front of the server
	address  string                      // that the proxy knows
	cut      atomic.Bool                 // changes are got, and the connection ends without an answer
	arrived  atomic.Int64                // changes that were cut off so
	asked    atomic.Pointer[http.Header] // by the proxy, last
	gone     string                      // an address where no server is, which the proxy knows too
	frontend string                      // the proxy's own, for HTTPS
}

func newFronted(t *testing.T) *fronted {
	t.Helper()
	config := databaseConfig(t)
	config.TrustedProxies, _ = parseProxies("127.0.0.1")
	b := &fronted{server: start(t, config), gone: freeAddress(t), frontend: freeAddress(t)}
	b.spy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Clone()
		header.Set("Host", r.Host)
		if strings.HasPrefix(r.URL.Path, "/api") {
			b.asked.Store(&header)
		}
		if b.cut.Load() && r.Method != "GET" {
			_, _ = io.Copy(io.Discard, r.Body)
			b.arrived.Add(1)
			panic(http.ErrAbortHandler)
		}
		b.server.program.serveHTTP(w, r)
	})
	spy := httptest.NewServer(b.spy)
	t.Cleanup(spy.Close)
	b.address = strings.TrimPrefix(spy.URL, "http://")
	return b
}

// startProxy runs a program until the test ends, and waits until it answers.
func (b *fronted) startProxy(t *testing.T, command *exec.Cmd) *running {
	t.Helper()
	log := &logBuffer{}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if t.Failed() && testing.Verbose() {
			t.Logf("the proxy says:\n%s", log)
		}
	})
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // it was made a moment ago
	}}
	t.Cleanup(client.CloseIdleConnections)
	proxied := &running{url: "https://" + strings.Replace(b.frontend, "127.0.0.1", "localhost", 1), client: client}
	eventually(t, "the proxy answers", 30*time.Second, func() bool {
		got, err := proxied.try("GET", "/livez", nil, nil)
		return err == nil && got.status == 200
	})
	return proxied
}

// mustProxy: through the proxy all is as it should be, from HSTS to a stream of events.
func (b *fronted) mustProxy(t *testing.T, proxied *running) {
	t.Helper()
	access := b.mustCreate(t, proxied)
	lied := http.Header{"Authorization": {"Bearer " + access}, "X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"http"}}
	got := proxied.send(t, "GET", "/api/patients/?limit=1", lied, nil)
	if !strings.Contains(string(got.body), `"next":"`+proxied.url+`/api/patients/?`) || got.header.Get("Strict-Transport-Security") != "max-age=31536000" {
		t.Errorf("a page: %s, %v", got.body, got.header)
	}
	asked := *b.asked.Load()
	if from := asked.Get("X-Forwarded-For"); net.ParseIP(from) == nil || !net.ParseIP(from).IsLoopback() || asked.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("the server is asked with %v", asked)
	}
	if got := proxied.send(t, "GET", "/metrics", nil, nil); got.status != 404 || got.header.Get("X-Request-Id") != "" {
		t.Errorf("/metrics: %d %v", got.status, got.header)
	}
	large := `{"first_name":"` + strings.Repeat("x", 1<<20) + `"}`
	if got, err := proxied.as(access, "POST", "/api/patients/", large); err != nil || got.status != 413 {
		t.Errorf("a large body: %d %v", got.status, err)
	}
	b.mustStream(t, proxied, access)
	b.mustSendOnce(t, proxied, access)
}

// mustSendOnce: a change that a server has got, and not answered, is sent to no other.
func (b *fronted) mustSendOnce(t *testing.T, proxied *running, access string) {
	t.Helper()
	listener, err := net.Listen("tcp", b.gone)
	if err != nil {
		t.Fatal(err)
	}
	second := &httptest.Server{Listener: listener, Config: &http.Server{Handler: b.spy}}
	second.Start()
	defer second.Close()
	b.cut.Store(true)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		path, body := "/api/patients/2/", somePatient
		switch method {
		case "POST":
			path = "/api/patients/"
		case "DELETE":
			body = ""
		}
		eventually(t, method+" arrives at a server", 20*time.Second, func() bool { // the proxy leaves out servers that have failed
			b.arrived.Store(0)
			got, err := proxied.as(access, method, path, body)
			arrived := b.arrived.Load()
			if arrived > 0 && (arrived > 1 || err != nil || got.status != 502) {
				t.Errorf("%s was sent %d times, and answered %d, %v", method, arrived, got.status, err)
			}
			return arrived > 0
		})
	}
	b.cut.Store(false)
}

// mustCreate: whichever of the two servers has its turn.
func (b *fronted) mustCreate(t *testing.T, proxied *running) (access string) {
	t.Helper()
	access, _ = proxied.register(t, "John Doe", "john@example.com", oldPassword)
	for range 6 {
		proxied.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
	}
	return access
}

// mustStream: an event comes while the stream is open, over HTTP/2.
func (b *fronted) mustStream(t *testing.T, proxied *running, access string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", proxied.url+"/api/events/?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + access}, "Accept": {"text/event-stream"}}
	stream, err := proxied.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if stream.ProtoMajor != 2 || stream.StatusCode != 200 {
		t.Fatalf("a stream begins with %s %s", stream.Proto, stream.Status)
	}
	next := func(event string) {
		t.Helper()
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); {
			if strings.Contains(lines.Text(), event) {
				return
			}
		}
		t.Fatalf("the stream ends without %s", event)
	}
	next("patient.registered")
	eventually(t, "a patient is removed", 20*time.Second, func() bool { // nginx answers 502 where a server takes no connection
		got, err := proxied.as(access, "DELETE", "/api/patients/1/", "")
		return err == nil && got.status == 204
	})
	next("patient.removed")
}

// replaced puts other texts in the place of each that is there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the configuration has no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestNginx runs the configuration of deploy/proxy, where nginx is installed.
func TestNginx(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Skip("nginx is not installed, so deploy/proxy/nginx.conf was not tried")
	}
	b := newFronted(t)
	dir := t.TempDir()
	certify(t, dir)
	plain := freeAddress(t)
	config := replaced(t, readDeploy(t, "proxy/nginx.conf"),
		"127.0.0.1:8001", b.address, "127.0.0.1:8002", b.gone, "listen 80 ", "listen "+plain+" ", "listen 443 ", "listen "+b.frontend+" ",
		"fail_timeout=5s", "fail_timeout=1s", "/etc/nginx/tls/", dir+"/", "/var/log/nginx/", dir+"/", "http {", "http { "+nginxDirs(dir))
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	own := "daemon off; pid " + dir + "/pid; error_log stderr;"
	if os.Geteuid() == 0 {
		own += " user root;" // who can read the directory
	}
	args := []string{"-p", dir, "-c", path, "-g", own}
	if output, err := exec.CommandContext(t.Context(), program, append(args, "-t")...).CombinedOutput(); err != nil {
		t.Fatalf("nginx -t: %v: %s", err, output)
	}
	proxied := b.startProxy(t, exec.Command(program, args...))
	b.mustProxy(t, proxied)
	proxied.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	insecure := &running{url: "http://" + plain, client: proxied.client}
	if got := insecure.send(t, "GET", "/api/patients/", nil, nil); got.status != 308 || got.header.Get("Location") != "https://127.0.0.1/api/patients/" {
		t.Errorf("without TLS: %d %v", got.status, got.header)
	}
}

// nginxDirs are the directories of nginx that only root has.
func nginxDirs(dir string) (text string) {
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += name + "_temp_path " + dir + "/" + name + "; "
	}
	return text
}

// certify makes a certificate for localhost, signed by itself.
func certify(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: certificate}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCaddy runs the other configuration, where Caddy is installed.
func TestCaddy(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("Caddy is not installed, so deploy/proxy/Caddyfile was not tried")
	}
	text, err := exec.Command(program, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := make([]int, 3)
	if n, _ := fmt.Sscanf(strings.TrimPrefix(string(text), "v"), "%d.%d.%d", &version[0], &version[1], &version[2]); n == 3 && slices.Compare(version, []int{2, 11, 2}) < 0 {
		t.Skipf("Caddy %s is older than 2.11.2, which deploy/proxy/Caddyfile is for", text)
	}
	t.Run("as it is", func(t *testing.T) {
		t.Parallel()
		b := newFronted(t)
		b.mustProxy(t, b.startCaddy(t, program))
	})
	t.Run("without checks of health", func(t *testing.T) { // which leave a dead server out before many requests meet it
		t.Parallel()
		b := newFronted(t)
		b.mustCreate(t, b.startCaddy(t, program, "health_uri", "# uri", "health_interval", "# interval", "health_timeout", "# timeout"))
	})
}

// startCaddy runs it with the configuration, in which other texts are put.
func (b *fronted) startCaddy(t *testing.T, program string, others ...string) *running {
	t.Helper()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(b.frontend)
	path := filepath.Join(dir, "Caddyfile")
	others = append(others, "admin off\n", "admin off\n\tauto_https disable_redirects\n") // port 80 is root's
	config := replaced(t, readDeploy(t, "proxy/Caddyfile"), others...)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "run", "--config", path, "--adapter", "caddyfile")
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "CARELOG_SITE=localhost:"+port,
		"CARELOG_SERVERS="+b.address+" "+b.gone)
	return b.startProxy(t, command)
}
