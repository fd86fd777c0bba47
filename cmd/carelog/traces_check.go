package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// traces tells whether OpenTelemetry's variables ask for traces, and what of them cannot
// be used: its SDK would go on with something else, and tell nobody who looks here.
func (e environment) traces() (on bool, warnings, problems []string) {
	if strings.EqualFold(e.vars["OTEL_SDK_DISABLED"], "true") {
		return false, nil, nil
	}
	exporter := e.vars["OTEL_TRACES_EXPORTER"]
	endpoint := e.vars["OTEL_EXPORTER_OTLP_ENDPOINT"] + e.vars["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
	for name := range e.dotenv {
		if _, set := e.vars[name]; strings.HasPrefix(name, "OTEL_") && !set {
			warnings = append(warnings, name+" in .env is not read: OpenTelemetry's settings are taken from the environment alone")
		}
	}
	slices.Sort(warnings)
	switch {
	case exporter == "none" || exporter == "" && endpoint == "":
		return false, warnings, nil
	case exporter != "" && exporter != "otlp":
		return false, warnings, []string{fmt.Sprintf("OTEL_TRACES_EXPORTER: %q is not known: set it to otlp or none", exporter)}
	}
	for _, check := range tracesChecks {
		for _, name := range check.names {
			if text := e.vars[name]; text != "" {
				if err := check.check(text); err != nil {
					problems = append(problems, fmt.Sprintf("%s: %v", name, err))
				}
			}
		}
	}
	if err := checkSampler(e.vars["OTEL_TRACES_SAMPLER"], e.vars["OTEL_TRACES_SAMPLER_ARG"]); err != nil {
		problems = append(problems, err.Error())
	}
	for _, of := range []string{"", "TRACES_"} {
		certificate, key := "OTEL_EXPORTER_OTLP_"+of+"CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_"+of+"CLIENT_KEY"
		if e.vars[certificate] == "" && e.vars[key] == "" {
			continue
		}
		if _, err := tls.LoadX509KeyPair(e.vars[certificate], e.vars[key]); err != nil {
			problems = append(problems, fmt.Sprintf("%s, %s: %v: set them to files in PEM", certificate, key, err))
		}
	}
	return true, warnings, problems
}

// tracesChecks are of single variables. Those for traces alone win over the general ones.
var tracesChecks = []struct {
	names []string
	check func(string) error
}{
	{exporterNames("ENDPOINT"), checkTracesEndpoint},
	{exporterNames("PROTOCOL"), checkTracesProtocol},
	{exporterNames("HEADERS"), checkPairs},
	{exporterNames("COMPRESSION"), func(s string) error { return setOneOf(new(string), s, "none", "gzip") }},
	{exporterNames("TIMEOUT"), checkMilliseconds},
	{exporterNames("CERTIFICATE"), checkCertificate},
	{[]string{"OTEL_RESOURCE_ATTRIBUTES"}, checkPairs},
	{[]string{"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT"}, checkMilliseconds},
}

func exporterNames(name string) []string {
	return []string{"OTEL_EXPORTER_OTLP_" + name, "OTEL_EXPORTER_OTLP_TRACES_" + name}
}

// checkTracesEndpoint never quotes s: it may have a password.
func checkTracesEndpoint(s string) error {
	parsed, err := url.Parse(s)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return errors.New("not the URL of a collector that takes OTLP over HTTP: set it to one like http://127.0.0.1:4318")
	}
	return nil
}

func checkTracesProtocol(s string) error {
	if s == "grpc" {
		return errors.New("grpc is not built in: set it to http/protobuf, and the endpoint to the collector's port for that, which mostly is 4318")
	}
	return setOneOf(new(string), s, "http/protobuf", "http/json")
}

// checkPairs takes key=value, comma separated, and quotes nothing: values may be secrets.
func checkPairs(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		key, value, found := strings.Cut(pair, "=")
		_, err := url.PathUnescape(value)
		if strings.TrimSpace(key) == "" || !found || err != nil {
			return errors.New("not a list: set it to key=value, several separated by commas, with special characters of values percent-encoded")
		}
	}
	return nil
}

func checkMilliseconds(s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 0 {
		return fmt.Errorf("%q is no number of milliseconds: set it to one like 10000", s)
	}
	return nil
}

func checkCertificate(s string) error {
	pem, err := os.ReadFile(s)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return fmt.Errorf("%w: set it to a file of certificates in PEM", err)
	}
	return nil
}

// samplers are those that the SDK knows, and whether they take a ratio.
var samplers = map[string]bool{
	"always_on": false, "always_off": false, "traceidratio": true,
	"parentbased_always_on": false, "parentbased_always_off": false, "parentbased_traceidratio": true,
}

func checkSampler(name, ratio string) error {
	if name == "" {
		return nil
	}
	takesRatio, known := samplers[name]
	if !known {
		return fmt.Errorf("OTEL_TRACES_SAMPLER: %q is not known: set it to always_on, always_off or traceidratio, or one of these after parentbased_", name)
	}
	if of, err := strconv.ParseFloat(ratio, 64); takesRatio && ratio != "" && (err != nil || !(0 <= of && of <= 1)) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %q is no ratio: set it to a number from 0 to 1", ratio)
	}
	return nil
}
