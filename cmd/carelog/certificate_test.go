package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carelog/carelog/httpapi/openapi/openapitest"
)

// TestHTTPS serves what HTTP does, streams too, over HTTP/2 and HTTP/1.1.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	trusted := withCertificate(t, &config)
	server := start(t, config)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		server.client = clientTrusting(t, trusted, protocol == "HTTP/2.0")
		answer, err := server.client.Get(server.url + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.Proto != protocol || answer.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
			t.Errorf("%s, want %s; %v", answer.Proto, protocol, answer.Header)
		}
		access, _ := server.register(t, "John Doe", "john-"+protocol[len("HTTP/"):]+"@example.com", oldPassword)
		for range 2 {
			server.mustAs(t, access, "POST", "/api/patients/", somePatient, 201)
		}
		var page struct{ Next string }
		got := server.mustAs(t, access, "GET", "/api/patients/?limit=1", "", 200)
		if err := json.Unmarshal(got.body, &page); err != nil || page.Next != server.url+"/api/patients/?limit=1&offset=1" {
			t.Errorf("next is %q, %v", page.Next, err)
		}
		s, err := follow(t.Context(), server, access, "", "")
		if err != nil {
			t.Fatal(err)
		}
		if id, _, _, err := s.next(); err != nil || id == "" {
			t.Errorf("no event comes: %v", err)
		}
		s.body.Close()
	}
	if !strings.HasPrefix(server.url, "https://") || !strings.Contains(server.log.String(), `msg="carelog is serving" url=`+server.url) {
		t.Errorf("not told where it serves:\n%s", server.log)
	}

	address := strings.TrimPrefix(server.url, "https://")
	if got := runCarelog(t, Config{}, "", "health", "--addr", address); got.status != 0 {
		t.Errorf("carelog health: %+v", got)
	}
	answer, err := http.Get("http://" + address + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 400 {
		t.Errorf("without TLS: %d", answer.StatusCode)
	}
}

// TestRenewedCertificate is taken without a restart, and not while it is broken. Both
// are told, once each.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	first := withCertificate(t, &config)
	server := start(t, config)
	expectTrust := func(when, trusted string, want bool) {
		t.Helper()
		if got := trustsServer(t, server, trusted) == nil; got != want {
			t.Errorf("%s: the certificate is shown: %v, want %v", when, got, want)
		}
	}
	expectLines := func(when, text string, want int) {
		t.Helper()
		if got := strings.Count(server.log.String(), text); got != want {
			t.Errorf("%s: told %d times, want %d: %s\n%s", when, got, want, text, server.log)
		}
	}
	expectTrust("at first", first, true)
	second := writeCertificate(t, config.TLSCert, config.TLSKey)
	expectTrust("renewed", second, true)
	expectTrust("renewed", first, false)
	expectLines("renewed", "a renewed certificate is shown", 1)

	const refused = "the renewed certificate cannot be used"
	spare := t.TempDir()
	third := writeCertificate(t, filepath.Join(spare, "cert.pem"), filepath.Join(spare, "key.pem"))
	replace := func(path string) {
		t.Helper()
		if err := copyFile(filepath.Join(spare, filepath.Base(path)), path); err != nil {
			t.Fatal(err)
		}
	}
	replace(config.TLSCert)
	for range 2 {
		expectTrust("with the key of another", second, true)
		expectLines("with the key of another", refused, 1)
	}
	if err := os.Remove(config.TLSKey); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		expectTrust("without a key", second, true)
		expectLines("without a key", refused, 2)
	}
	replace(config.TLSKey)
	expectTrust("with both", third, true)
	expectTrust("with both", second, false)
	expectLines("with both", "a renewed certificate is shown", 2)
	expectLines("all the while", "CARELOG_TLS_CERT, CARELOG_TLS_KEY: ", 2)
}

// TestCertificatesThatCannotBeUsed refuse the start, with the names of both settings.
func TestCertificatesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeCertificate(t, path("cert.pem"), path("key.pem"))
	writeCertificate(t, path("other.pem"), path("otherkey.pem"))
	for name, test := range map[string]struct{ cert, key, want string }{
		"no certificate":     {path("nowhere.pem"), path("key.pem"), "nowhere.pem: no such file"},
		"no key":             {path("cert.pem"), path("nowhere.pem"), "nowhere.pem: no such file"},
		"the key of another": {path("cert.pem"), path("otherkey.pem"), "private key does not match public key"},
		"swapped":            {path("key.pem"), path("cert.pem"), "private key"},
		"a directory":        {dir, path("key.pem"), "is a directory"},
	} {
		config := testConfig(t, map[string]string{"CARELOG_TLS_CERT": test.cert, "CARELOG_TLS_KEY": test.key})
		p, err := newProgram(config, slog.New(slog.DiscardHandler))
		if err == nil {
			p.Close()
			t.Errorf("%s: it starts", name)
			continue
		}
		if text := err.Error(); !strings.Contains(text, test.want) || !strings.Contains(text, "CARELOG_TLS_CERT, CARELOG_TLS_KEY: ") || !strings.Contains(text, "set them to") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, set := range []string{"CARELOG_TLS_CERT", "CARELOG_TLS_KEY"} {
		_, _, err := loadConfig(variables(set, path("cert.pem")), nil)
		if err == nil || !strings.Contains(err.Error(), "set CARELOG_TLS_CERT and CARELOG_TLS_KEY, or neither") {
			t.Errorf("%s alone: %v", set, err)
		}
	}
}

// TestDoctorOfCertificates: one that is about to expire is told.
func TestDoctorOfCertificates(t *testing.T) {
	for name, test := range map[string]struct {
		left        time.Duration
		state, text string
	}{
		"of a year":    {365 * 24 * time.Hour, "ok", "that of CARELOG_TLS_CERT is good until"},
		"of some days": {13 * 24 * time.Hour, "warning", "that of CARELOG_TLS_CERT expires at"},
		"of yesterday": {-24 * time.Hour, "error", "that of CARELOG_TLS_CERT has expired"},
	} {
		var found []finding
		c := &checkup{print: func(f finding) error { found = append(found, f); return nil }}
		dir := t.TempDir()
		c.config.TLSCert, c.config.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		writeCertificateUntil(t, c.config.TLSCert, c.config.TLSKey, time.Now().Add(test.left))
		c.certificates()
		if len(found) != 1 || found[0].State != test.state || !strings.HasPrefix(found[0].Message, test.text) {
			t.Errorf("%s: %+v", name, found)
		}
	}
	c := &checkup{print: func(f finding) error {
		if f.State != "error" || !strings.Contains(f.Message, "CARELOG_NATS_TLS_CERT, CARELOG_NATS_TLS_KEY: ") {
			t.Errorf("%+v", f)
		}
		return nil
	}}
	c.config.NATSCert, c.config.NATSKey = "/nowhere/cert.pem", "/nowhere/key.pem"
	if c.certificates(); c.errors != 1 {
		t.Errorf("%d errors", c.errors)
	}
}

// withCertificate has the configuration serve HTTPS.
func withCertificate(t *testing.T, config *Config) (trusted string) {
	t.Helper()
	dir := t.TempDir()
	config.TLSCert, config.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	return writeCertificate(t, config.TLSCert, config.TLSKey)
}

func poolOf(t *testing.T, trusted string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(trusted)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", trusted)
	}
	return pool
}

func clientTrusting(t *testing.T, trusted string, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(t, trusted)}, Protocols: &http.Protocols{}}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: 30 * time.Second, Transport: openapitest.Transport(t, transport)}
}

// trustsServer shakes hands with the server.
func trustsServer(t *testing.T, server *running, trusted string) error {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(server.url, "https://"), &tls.Config{RootCAs: poolOf(t, trusted)})
	if err == nil {
		conn.Close()
	}
	return err
}

// writeCertificate makes a certificate for 127.0.0.1 that is its own authority, and
// answers a file that holds it and stays.
func writeCertificate(t *testing.T, certFile, keyFile string) (trusted string) {
	t.Helper()
	return writeCertificateUntil(t, certFile, keyFile, time.Now().Add(time.Hour))
}

func writeCertificateUntil(t *testing.T, certFile, keyFile string, expires time.Time) (trusted string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: expires, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	trusted = filepath.Join(t.TempDir(), "trusted.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert}, trusted: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return trusted
}
