package main

import (
	"strings"
	"testing"
)

func TestWhatAsksForTraces(t *testing.T) {
	const endpoint = "http://127.0.0.1:4318"
	for _, test := range []struct {
		vars []string
		on   bool
	}{
		{nil, false},
		{[]string{"OTEL_SERVICE_NAME", "x", "OTEL_TRACES_SAMPLER", "always_on"}, false},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", endpoint}, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", ""}, false},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint + "/v1/traces"}, true},
		{[]string{"OTEL_TRACES_EXPORTER", "otlp"}, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, "OTEL_TRACES_EXPORTER", "none"}, false},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", "not looked at", "OTEL_SDK_DISABLED", "True"}, false},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, "OTEL_SDK_DISABLED", "false"}, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_HEADERS", "a=b, c=d%20e",
			"OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test", "OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.1",
			"OTEL_EXPORTER_OTLP_TIMEOUT", "1000", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}, true},
	} {
		config, warnings, err := loadConfig(variables(test.vars...), nil)
		if err != nil || len(warnings) > 0 || config.Traces != test.on {
			t.Errorf("%v: %v, %v, %v", test.vars, config.Traces, warnings, err)
		}
	}
}

// Each mistake is told with the variable, and none with the text of a secret.
func TestMistakesAboutTraces(t *testing.T) {
	const secret = "hidden"
	for _, test := range []struct{ name, text, want string }{
		{"OTEL_TRACES_EXPORTER", "zipkin", `"zipkin" is not known: set it to otlp or none`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318", "set it to one like http://127.0.0.1:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://" + secret + "@h", "not the URL of a collector"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "grpc is not built in: set it to http/protobuf"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "thrift", "set it to http/protobuf or http/json"},
		{"OTEL_EXPORTER_OTLP_HEADERS", secret, "set it to key=value"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=" + secret + "%zz", "set it to key=value"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "set it to none or gzip"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "no number of milliseconds"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere", "set it to a file"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "main.go", "no certificate in it"},
		{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere", "set them to files"},
		{"OTEL_RESOURCE_ATTRIBUTES", "x", "set it to key=value"},
		{"OTEL_BSP_SCHEDULE_DELAY", "soon", "no number of milliseconds"},
		{"OTEL_TRACES_SAMPLER", "sometimes", "set it to always_on"},
		{"OTEL_TRACES_SAMPLER_ARG", "1.5", "set it to a number from 0 to 1"},
	} {
		vars := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_SAMPLER": "traceidratio"}
		if test.name == "OTEL_TRACES_EXPORTER" {
			delete(vars, "OTEL_EXPORTER_OTLP_ENDPOINT")
		}
		vars[test.name] = test.text
		_, _, problems := environment{vars: vars}.traces()
		if len(problems) != 1 || !strings.Contains(problems[0], test.name) || !strings.Contains(problems[0], test.want) || strings.Contains(problems[0], secret) {
			t.Errorf("%s=%s: %q", test.name, test.text, problems)
		}
	}
}

func TestOpenTelemetryDoesNotReadDotenv(t *testing.T) {
	env := variables("OTEL_SERVICE_NAME", "x")
	env.dotenv = map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SERVICE_NAME": "y"}
	config, warnings, err := loadConfig(env, nil)
	if err != nil || config.Traces || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "OTEL_EXPORTER_OTLP_ENDPOINT in .env is not read") {
		t.Errorf("%v, %q, %v", config.Traces, warnings, err)
	}
}
