// Package metricstest reads metrics in the tests of those who count.
package metricstest

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Gather answers what is registered: values, and how much a histogram has observed;
// with the values of the labels behind the name.
func Gather(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			name := family.GetName()
			for _, label := range metric.Label {
				name += " " + label.GetValue()
			}
			all[name] = metric.Counter.GetValue() + metric.Gauge.GetValue() + float64(metric.Histogram.GetSampleCount())
		}
	}
	return all
}
