package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// NewScrape answers GET /metrics with what there is to be gathered, in the formats of
// Prometheus. What cannot be gathered is left out. Those who ask while somebody
// gathers share what is gathered next, as with /readyz.
func NewScrape(gatherer prometheus.Gatherer, logger *slog.Logger) http.Handler {
	shared := sharedGatherer{newLooks(func(context.Context) gathered {
		families, err := gatherer.Gather()
		return gathered{families, err}
	})}
	return promhttp.HandlerFor(shared, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	})
}

type gathered struct {
	families []*dto.MetricFamily // shared, never changed
	err      error
}

type sharedGatherer struct{ looks *looks[gathered] }

// Gather implements [prometheus.Gatherer].
func (g sharedGatherer) Gather() ([]*dto.MetricFamily, error) {
	got, err := g.looks.ask(context.Background()) // each part has a time of its own
	if err != nil {
		return nil, err
	}
	if got.err != nil {
		return got.families, fmt.Errorf("gather the metrics: %w", got.err)
	}
	return got.families, nil
}

// scrapeRoute is /metrics, unless that is served elsewhere.
func (a *api) scrapeRoute() []route {
	if a.scrape == nil {
		return nil
	}
	return []route{{"/metrics/", "Metrics", public, methods{"GET": func(w http.ResponseWriter, r *http.Request) error {
		a.scrape.ServeHTTP(w, r)
		return nil
	}}}}
}
