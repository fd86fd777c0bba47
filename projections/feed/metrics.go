package feed

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

func (h *Hub) register(to prometheus.Registerer) {
	promauto.With(to).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carelog_feed_followers", Help: "Clients that follow the events over HTTP.",
	}, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.followers)
	})
}
