package httpapi

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"),
		netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("fe80::/10"),
	}
	for _, test := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "203.0.113.9:4711", nil, "203.0.113.9"},
		{"a stranger's header", "203.0.113.9:4711", []string{"198.51.100.1"}, "203.0.113.9"},
		{"a stranger who claims a proxy's address", "203.0.113.9:4711", []string{"10.0.0.1"}, "203.0.113.9"},
		{"one beside a trusted address", "192.0.2.8:4711", []string{"198.51.100.1"}, "192.0.2.8"},
		{"a proxy without the header", "10.0.0.1:4711", nil, "10.0.0.1"},
		{"a proxy with an empty header", "10.0.0.1:4711", []string{"", " , "}, "10.0.0.1"},
		{"one proxy", "10.0.0.1:4711", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a single trusted address", "192.0.2.7:4711", []string{"198.51.100.1"}, "198.51.100.1"},
		{"what the client claimed", "10.0.0.1:4711", []string{"1.1.1.1, 10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		{"several proxies", "10.0.0.1:4711", []string{"1.1.1.1,198.51.100.1,192.0.2.7,10.0.0.2"}, "198.51.100.1"},
		{"several headers", "10.0.0.1:4711", []string{"1.1.1.1", "198.51.100.1, 10.0.0.3", "10.0.0.2"}, "198.51.100.1"},
		{"proxies alone", "10.0.0.1:4711", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"empty elements", "10.0.0.1:4711", []string{"198.51.100.1,, ,10.0.0.2, "}, "198.51.100.1"},
		{"malformed behind a proxy", "10.0.0.1:4711", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"malformed at once", "10.0.0.1:4711", []string{"198.51.100.1, _hidden"}, "10.0.0.1"},
		{"no commas", "10.0.0.1:4711", []string{"198.51.100.1 198.51.100.2"}, "10.0.0.1"},
		{"malformed left of the client", "10.0.0.1:4711", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
		{"a port", "10.0.0.1:4711", []string{"198.51.100.1:55555"}, "198.51.100.1"},
		{"IPv6 with a port", "10.0.0.1:4711", []string{"[2001:db8:2::5]:55555"}, "2001:db8:2::5"},
		{"IPv6", "[2001:db8:1::1]:4711", []string{"2001:db8:2::5, 2001:DB8:1:0::2"}, "2001:db8:2::5"},
		{"IPv6 with a zone", "[fe80::1%eth0]:4711", []string{"2001:db8:2::5%x"}, "2001:db8:2::5"},
		{"a stranger with a zone", "[2001:db8:2::5%eth0]:4711", nil, "2001:db8:2::5"},
		{"IPv4 written as IPv6", "[::ffff:10.0.0.1]:4711", []string{"::ffff:198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		{"a Unix socket", "@", []string{"198.51.100.1"}, "invalid IP"},
		{"no peer", "", []string{"198.51.100.1"}, "invalid IP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.forwarded}}
			if got := clientAddress(r, trusted).String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
	r := &http.Request{RemoteAddr: "127.0.0.1:1", Header: http.Header{"X-Forwarded-For": {"198.51.100.1"}}}
	if got := clientAddress(r, nil).String(); got != "127.0.0.1" {
		t.Errorf("without proxies: %s", got)
	}
}

func TestNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::": "2001:db8:1:2::", "2001:db8:1:3::": "2001:db8:1:3::",
	} {
		if got := networkOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if networkOf(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}
