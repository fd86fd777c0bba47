package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// keyPair names the files of a certificate and of its key.
type keyPair struct {
	prefix    string // of the two settings: CARELOG_TLS, for CARELOG_TLS_CERT and CARELOG_TLS_KEY
	cert, key string // "" for none
}

// keyPairs are that of the API and that of the NATS server inside the process.
func (c *Config) keyPairs() (api, nats keyPair) {
	return keyPair{"CARELOG_TLS", c.TLSCert, c.TLSKey}, keyPair{"CARELOG_NATS_TLS", c.NATSCert, c.NATSKey}
}

// checkKeyPairs tells where one of two settings is missing.
func (c *Config) checkKeyPairs() (problems []string) {
	api, nats := c.keyPairs()
	for _, p := range []keyPair{api, nats} {
		if (p.cert == "") != (p.key == "") {
			problems = append(problems, fmt.Sprintf("%s_CERT: a certificate and its key go together: set %[1]s_CERT and %[1]s_KEY, or neither", p.prefix))
		}
	}
	return problems
}

// certificate is what the files hold, and the pair that is made of it.
type certificate struct {
	certPEM, keyPEM []byte
	pair            *tls.Certificate
}

func (p keyPair) read() (c certificate, err error) {
	c.certPEM, err = os.ReadFile(p.cert)
	if err == nil {
		c.keyPEM, err = os.ReadFile(p.key)
	}
	return c, p.explain(err)
}

func (p keyPair) parse(c *certificate) error {
	pair, err := tls.X509KeyPair(c.certPEM, c.keyPEM)
	c.pair = &pair
	return p.explain(err)
}

func (p keyPair) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s_CERT, %[1]s_KEY: %w: set them to the PEM files of a certificate, with those it is signed by, and of its key", p.prefix, err)
}

// load answers what can be used.
func (p keyPair) load() (certificate, error) {
	c, err := p.read()
	if err == nil {
		err = p.parse(&c)
	}
	return c, err
}

// tlsConfig is that of a server that shows the certificate; nil without one. When it
// expires is a metric.
func (p keyPair) tlsConfig(to prometheus.Registerer, logger *slog.Logger) (*tls.Config, error) {
	if p.cert == "" {
		return nil, nil
	}
	first, err := p.load()
	if err != nil {
		return nil, err
	}
	shown := &shownCertificate{files: p, logger: logger, seen: first}
	shown.pair.Store(first.pair)
	promauto.With(to).NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "carelog_tls_certificate_expiry_timestamp_seconds",
		Help:        "When the certificate expires that clients are shown, by the prefix of its settings: CARELOG_TLS of the API, CARELOG_NATS_TLS of the NATS server in the process. Unix time.",
		ConstLabels: prometheus.Labels{"setting": p.prefix},
	}, func() float64 { return float64(shown.pair.Load().Leaf.NotAfter.Unix()) })
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: shown.get}, nil
}

// shownCertificate is the one that clients are shown. The files are read for every
// handshake, which costs next to nothing beside it: so a renewed certificate is taken
// without a restart, however the files are replaced. While they cannot be used, be it
// because only one of them was replaced yet, the last one is shown that could.
type shownCertificate struct {
	files  keyPair
	logger *slog.Logger

	pair atomic.Pointer[tls.Certificate]

	mu   sync.Mutex  // held by the one who reads the files; the others show what there is
	seen certificate // when the files could be read last
	told string      // why they cannot be read now
}

func (s *shownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.mu.TryLock() { // files that hang, as on a network, hold up one
		defer s.mu.Unlock()
		s.look()
	}
	return s.pair.Load(), nil
}

// look takes files that were renewed.
func (s *shownCertificate) look() {
	now, err := s.files.read()
	if err != nil {
		if s.told != err.Error() {
			s.told = err.Error()
			s.refuse(err)
		}
		return
	}
	s.told = ""
	if bytes.Equal(now.certPEM, s.seen.certPEM) && bytes.Equal(now.keyPEM, s.seen.keyPEM) {
		return
	}
	s.seen = now
	if err := s.files.parse(&now); err != nil {
		s.refuse(err)
		return
	}
	s.pair.Store(now.pair)
	s.logger.Info("a renewed certificate is shown", "setting", s.files.prefix+"_CERT", "expires", now.pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

func (s *shownCertificate) refuse(err error) {
	s.logger.Warn("the renewed certificate cannot be used, the one before is still shown", "error", err)
}
