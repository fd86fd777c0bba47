package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/carelog/carelog/eventstore/pgtest"
)

// scraped is what a server's /metrics has answered, by name.
type scraped map[string]*dto.MetricFamily

func (r *running) scrape(t *testing.T) scraped {
	t.Helper()
	got := r.send(t, "GET", "/metrics", nil, nil)
	if got.status != 200 {
		t.Fatalf("/metrics: %d %s", got.status, got.body)
	}
	return parseMetrics(t, string(got.body))
}

func parseMetrics(t *testing.T, text string) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// labels are those of a family, and their values.
func (s scraped) labels(name string) map[string][]string {
	all := map[string][]string{}
	for _, metric := range s[name].GetMetric() {
		for _, label := range metric.Label {
			all[label.GetName()] = append(all[label.GetName()], label.GetValue())
		}
	}
	return all
}

// value is that of the metric with these labels, name, value, ...; of a histogram, how
// much was observed.
func (s scraped) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	for _, metric := range s[name].GetMetric() {
		has := map[string]string{}
		for _, label := range metric.Label {
			has[label.GetName()] = label.GetValue()
		}
		wanted := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			wanted[labels[i]] = labels[i+1]
		}
		if maps.Equal(has, wanted) {
			return metric.Counter.GetValue() + metric.Gauge.GetValue() + float64(metric.Histogram.GetSampleCount())
		}
	}
	t.Fatalf("there is no %s with %q", name, labels)
	return 0
}

// load runs the tour of the README, and then as many changes of each of some users,
// all at once.
func load(t *testing.T, server *running, users, changes int) {
	t.Helper()
	tour, _ := readScript(t, "tour")
	shell := exec.Command("sh", "-eu", "-c", tour)
	shell.Env = append(os.Environ(), "BASE="+server.url)
	if output, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("the tour fails: %v: %s", err, output)
	}
	john, _ := server.login(t, "john@example.com", "securepassword123")
	var all errgroup.Group
	for range users {
		all.Go(func() error {
			for range changes {
				got, err := server.as(john, "POST", "/api/patients/", somePatient)
				if err != nil || got.status != 201 {
					return fmt.Errorf("%d %s, %w", got.status, got.body, err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestMetrics looks at what a server exports after the tour and a small load: that it
// is true, what the table tells, and what dashboard and alarms ask for; that it names
// nobody, and that no event had to be read from the log.
func TestMetrics(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	listen(t, &config, "billing")
	dir, expires := t.TempDir(), time.Now().Add(time.Hour)
	config.NATSCert, config.NATSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificateUntil(t, config.NATSCert, config.NATSKey, expires)
	server := start(t, config)
	load(t, server, 4, 10)
	const events = 7 + 40
	got := server.scrape(t)
	eventually(t, "everything is known to be published, and a scrape is told of", 10*time.Second, func() bool {
		got = server.scrape(t)
		return got.value(t, "carelog_relay_position") == events
	})
	for _, want := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{0, "carelog_projection_applied_events_total", []string{"source", "log"}},
		{events, "carelog_projection_applied_events_total", []string{"source", "bus"}},
		{events, "carelog_log_position", nil},
		{events, "carelog_projection_position", []string{"projection", "patients"}},
		{0, "carelog_projection_lag_events", []string{"projection", "patients"}},
		{0, "carelog_projection_lag_seconds", []string{"projection", "patients"}},
		{0, "carelog_projection_stopped", []string{"projection", "patients"}},
		{events, "carelog_relay_position", nil},
		{0, "carelog_relay_lag_seconds", nil},
		{1, "carelog_relay_up", nil},
		{1, "carelog_bus_connected", nil},
		{1, "carelog_projections_live", nil},
		{1, "carelog_projections_lease_held", nil},
		{41, "carelog_http_requests_total", []string{"method", "POST", "route", "/api/patients/", "status", "201"}},
		{1, "carelog_http_requests_total", []string{"method", "POST", "route", "/api/patients/", "status", "400"}},
		{42, "carelog_http_request_duration_seconds", []string{"method", "POST", "route", "/api/patients/"}},
		{1, "carelog_http_requests_in_flight", nil},
		{46, "carelog_append_duration_seconds", nil}, // a removal with all that it ends is one append
		{46, "carelog_appends_total", []string{"outcome", "stored"}},
		{3, "carelog_hashing_duration_seconds", nil},
		{16, "carelog_db_pool_max_connections", nil},
		{float64(expires.Unix()), "carelog_tls_certificate_expiry_timestamp_seconds", []string{"setting", "CARELOG_NATS_TLS"}},
	} {
		if value := got.value(t, want.name, want.labels...); value != want.value {
			t.Errorf("%s %q is %v, want %v", want.name, want.labels, value, want.value)
		}
	}
	if waits := got.value(t, "carelog_http_projection_wait_seconds"); waits < 46 {
		t.Errorf("%v waits", waits)
	}

	text := string(server.send(t, "GET", "/metrics", nil, nil).body)
	checkNoPersonalData(t, "/metrics", text)
	for name := range got {
		for label := range got.labels(name) {
			if strings.HasPrefix(name, "carelog_") && strings.Contains(label, "user") {
				t.Errorf("%s has the label %s", name, label)
			}
		}
	}
	if head := server.send(t, "HEAD", "/metrics", nil, nil); head.status != 200 || len(head.body) != 0 {
		t.Errorf("HEAD: %d", head.status)
	}

	t.Run("table", func(t *testing.T) { checkTable(t, got) })
	t.Run("queries", func(t *testing.T) { checkQueries(t, got) })
}

var tableRow = regexp.MustCompile("(?m)^\\| `(carelog_\\w+)` \\| (\\w+) \\| ([^|]*)\\| \\S.* \\|$")

// checkTable: the table of metrics tells all that are exported, and no others.
func checkTable(t *testing.T, got scraped) {
	documented := map[string]string{}
	for _, row := range tableRow.FindAllStringSubmatch(readFile(t, "../../deploy/observability/README.md"), -1) {
		documented[row[1]] = row[2] + " " + strings.Trim(row[3], " ")
	}
	exported := map[string]string{}
	for name, family := range got {
		if strings.HasPrefix(name, "carelog_") {
			labels := slices.Sorted(maps.Keys(got.labels(name)))
			for i := range labels {
				labels[i] = "`" + labels[i] + "`"
			}
			exported[name] = strings.ToLower(family.GetType().String()) + " " + strings.Join(labels, ", ")
		}
	}
	for name, what := range exported {
		if documented[name] != what {
			t.Errorf("%s is a %s, and the table tells %q", name, what, documented[name])
		}
	}
	for name := range documented {
		if exported[name] == "" {
			t.Errorf("%s is in the table, and is not exported", name)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestMetricsAtAnAddressOfTheirOwn: there they are, and with the API they are not.
func TestMetricsAtAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	config := databaseConfig(t)
	config.MetricsAddr = "127.0.0.1:0"
	server := start(t, config)
	if got := server.send(t, "GET", "/metrics", nil, nil); got.status != 404 {
		t.Errorf("with the API: %d", got.status)
	}
	own := *server
	own.url = "http://" + server.program.metrics.listener.Addr().String()
	own.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // what is there is not the API of the OpenAPI document
	if own.scrape(t).value(t, "carelog_projections_live") != 1 {
		t.Error("it is not live")
	}
	for path, status := range map[string]int{"/livez": 404, "/": 404, "/api/patients/": 404} {
		if got := own.send(t, "GET", path, nil, nil); got.status != status {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if head := own.send(t, "HEAD", "/metrics", nil, nil); head.status != 200 {
		t.Errorf("HEAD: %d", head.status)
	}
}

// TestMetricsWithoutADatabase: while the database hangs a scrape is answered in time,
// without what only the database knows.
func TestMetricsWithoutADatabase(t *testing.T) {
	t.Parallel()
	network, through := newProxy(t, pgtest.New(t))
	server := start(t, testConfig(t, map[string]string{"DATABASE_URL": through, "CARELOG_JWT_SECRET": testSecret}))
	if server.scrape(t)["carelog_log_position"] == nil {
		t.Error("the position is missing while the database is there")
	}
	network.set(func() { network.stalled = true })
	began := time.Now()
	got := server.scrape(t)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a scrape took %v", took)
	}
	for _, name := range []string{"carelog_log_position", "carelog_projection_position", "carelog_projection_stopped", "carelog_relay_lag_events"} {
		if got[name] != nil {
			t.Errorf("%s is known without a database", name)
		}
	}
	if got.value(t, "carelog_http_requests_total", "method", "GET", "route", "/metrics/", "status", "200") != 1 {
		t.Error("what is known is missing")
	}
	network.set(func() { network.stalled = false })
	eventually(t, "the position is there again", 20*time.Second, func() bool { return server.scrape(t)["carelog_log_position"] != nil })
}
