package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql" // reads PromQL; its own parser is all of Prometheus
	"go.yaml.in/yaml/v3"
)

// observability is where dashboard and alarms are.
const observability = "../../deploy/observability"

// alarm is a rule of alerts.yaml.
type alarm struct {
	Alert, Expr string
	Annotations map[string]string
}

func alarms(t *testing.T) []alarm {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alarm } }
	if err := yaml.Unmarshal([]byte(readFile(t, observability+"/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var all []alarm
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// panel is one of dashboard.json.
type panel struct {
	Title, Description, Type string
	Targets                  []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal([]byte(readFile(t, observability+"/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(dashboard.Panels, func(p panel) bool { return p.Type == "row" })
}

// grafana fills in the dashboard's variables.
var grafana = strings.NewReplacer("$__rate_interval", "1m", "$job", "carelog", "$instance", ".+")

var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

// checkQueries: all that dashboard and alarms ask for is exported.
func checkQueries(t *testing.T, got scraped) {
	for _, rule := range alarms(t) {
		if err := got.knows(rule.Expr); err != nil {
			t.Errorf("%s: %v", rule.Alert, err)
		}
	}
	for _, p := range panels(t) {
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no description, or shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			expr := grafana.Replace(target.Expr)
			if err := got.knows(expr); err != nil {
				t.Errorf("panel %q: %v", p.Title, err)
			}
			for _, label := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				if err := got.knows("sum by (" + label[1] + ") (" + expr + ")"); err != nil {
					t.Errorf("the legend of panel %q: %v", p.Title, err)
				}
			}
		}
	}
	// What is wrong is found:
	for _, wrong := range []string{
		`carelog_no_such_metric`, `rate(carelog_log_position_total[5m])`, `carelog_http_request_duration_seconds`, `rate(carelog_appends_total)`,
		`sum by (path) (carelog_http_requests_total)`, `carelog_appends_total{result="stored"}`, `carelog_appends_total{outcome="good"}`,
		`carelog_http_requests_total{route=~"/api/persons/.*"}`, `up unless on (log) carelog_log_position`, `sum(carelog_appends_total`, `carelog_log_position{le="1"}`,
	} {
		if got.knows(wrong) == nil {
			t.Errorf("%s is taken for good", wrong)
		}
	}
}

// ofPrometheus are labels that Prometheus gives.
var ofPrometheus = []string{"job", "instance"}

// knows tells what is wrong with a query, if anything: names, labels and values of
// labels that are not exported, or ranges that are missing.
func (s scraped) knows(query string) error {
	expr, err := metricsql.Parse(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	var wrong []error
	metricsql.VisitAll(expr, func(part metricsql.Expr) {
		switch part := part.(type) {
		case *metricsql.MetricExpr:
			for _, filters := range part.LabelFilterss {
				wrong = append(wrong, s.selects(filters))
			}
		case *metricsql.FuncExpr:
			if metricsql.IsRollupFunc(part.Name) { // in PromQL they want a range
				ranged, ok := part.Args[metricsql.GetRollupArgIdx(part)].(*metricsql.RollupExpr)
				if !ok || ranged.Window == nil {
					wrong = append(wrong, fmt.Errorf("%s lacks a range", part.AppendString(nil)))
				}
			}
		case *metricsql.AggrFuncExpr:
			wrong = append(wrong, s.has(part, part.Modifier.Args))
		case *metricsql.BinaryOpExpr:
			wrong = append(wrong, s.has(part.Left, part.GroupModifier.Args), s.has(part.Right, part.GroupModifier.Args))
		}
	})
	return errors.Join(wrong...)
}

// family is the name of the family that a name of a query belongs to.
func (s scraped) family(name string) (family string, bucket, known bool) {
	if name == "up" {
		return name, false, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && s[base].GetMetric() != nil && s[base].Metric[0].Histogram != nil {
			return base, suffix == "_bucket", true
		}
	}
	return name, false, s[name] != nil && s[name].Metric[0].Histogram == nil
}

// selects tells what is wrong with a selector.
func (s scraped) selects(filters []metricsql.LabelFilter) error {
	if len(filters) == 0 || filters[0].Label != "__name__" {
		return errors.New("a selector has no name")
	}
	name, bucket, known := s.family(filters[0].Value)
	if !known {
		return fmt.Errorf("%s is not exported", filters[0].Value)
	}
	for _, filter := range filters[1:] {
		values, known := s.labels(name)[filter.Label]
		matches, err := regexp.Compile("^(?:" + filter.Value + ")$")
		switch {
		case err != nil:
			return err
		case slices.Contains(ofPrometheus, filter.Label), bucket && filter.Label == "le":
		case !known:
			return fmt.Errorf("%s has no label %s", name, filter.Label)
		case filter.Label == "status" && filter.IsRegexp: // a small load meets few of them
		case filter.IsRegexp && !slices.ContainsFunc(values, matches.MatchString), !filter.IsRegexp && !slices.Contains(values, filter.Value):
			return fmt.Errorf("%s has no %s %q", name, filter.Label, filter.Value)
		}
	}
	return nil
}

// has tells which of the labels no metric of an expression has.
func (s scraped) has(expr metricsql.Expr, labels []string) error {
	all := slices.Clone(ofPrometheus)
	metricsql.VisitAll(expr, func(part metricsql.Expr) {
		selector, ok := part.(*metricsql.MetricExpr)
		if !ok || len(selector.LabelFilterss) == 0 {
			return
		}
		name, bucket, _ := s.family(selector.LabelFilterss[0][0].Value)
		for label := range s.labels(name) {
			all = append(all, label)
		}
		if bucket {
			all = append(all, "le")
		}
	})
	for _, label := range labels {
		if !slices.Contains(all, label) {
			return fmt.Errorf("%s has no label %s", expr.AppendString(nil), label)
		}
	}
	return nil
}

// TestEveryAlarmTellsWhatToDo: each has its section, with what to look at and to do,
// and a test.
func TestEveryAlarmTellsWhatToDo(t *testing.T) {
	sections := map[string]string{}
	for _, section := range strings.Split(readFile(t, observability+"/README.md"), "\n### ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	tests := readFile(t, observability+"/alerts_test.yaml")
	for _, rule := range alarms(t) {
		text := sections[rule.Alert]
		delete(sections, rule.Alert)
		if !strings.Contains(text, "**Look") || !strings.Contains(text, "do:**") && !strings.Contains(text, "**Do:**") {
			t.Errorf("the README does not tell what to look at and to do at %s", rule.Alert)
		}
		if !strings.HasSuffix(rule.Annotations["runbook_url"], "/deploy/observability/README.md#"+strings.ToLower(rule.Alert)) || rule.Annotations["summary"] == "" {
			t.Errorf("%s: %v", rule.Alert, rule.Annotations)
		}
		if !strings.Contains(tests, `"`+rule.Alert+`"`) {
			t.Errorf("alerts_test.yaml does not raise %s", rule.Alert)
		}
	}
	for name := range sections {
		t.Errorf("there is no alarm %s", name)
	}
}

// TestPodsAreScraped as a job that the alarms mean, by what the pods really have.
func TestPodsAreScraped(t *testing.T) {
	jobs := readYAML[struct {
		ScrapeConfigs []struct {
			JobName        string `yaml:"job_name"`
			RelabelConfigs []struct {
				SourceLabels []string `yaml:"source_labels"`
				Regex        string
			} `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}](t, readFile(t, observability+"/prometheus-kubernetes.yaml")).ScrapeConfigs
	pod := readYAML[manifest](t, readDeploy(t, "kubernetes/base/deployment.yaml")).Spec.Template
	has := map[string]string{
		"__meta_kubernetes_pod_label_app_kubernetes_io_name": pod.Metadata.Labels["app.kubernetes.io/name"],
		"__meta_kubernetes_pod_container_port_name":          pod.Spec.Containers[0].Ports[0].Name,
	}
	if len(jobs) != 1 || !strings.HasPrefix(jobs[0].JobName, "carelog") {
		t.Fatalf("%+v", jobs)
	}
	for _, rule := range jobs[0].RelabelConfigs {
		if label := rule.SourceLabels[0]; rule.Regex != has[label] {
			t.Errorf("it wants %s=%q, and the pods have %q", label, rule.Regex, has[label])
		}
		delete(has, rule.SourceLabels[0])
	}
	if len(has) > 0 {
		t.Errorf("it does not ask for %v", has)
	}
}

// TestAlarmsAreRaised has promtool run the tests of the alarms, and read all queries
// and the example of a configuration by Prometheus's own parser.
func TestAlarmsAreRaised(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus, to run deploy/observability/alerts_test.yaml")
	}
	var rules []map[string]string
	for i, p := range panels(t) {
		for j, target := range p.Targets {
			rules = append(rules, map[string]string{"record": fmt.Sprintf("panel:%d:%d", i, j), "expr": grafana.Replace(target.Expr)})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	dashboard := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(dashboard, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"test", "rules", "alerts_test.yaml"}, {"check", "config", "prometheus.yaml"}, {"check", "rules", dashboard},
	} {
		tool := exec.Command("promtool", args...)
		tool.Dir = observability
		if output, err := tool.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
}
