package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress is the address that a request comes from: the peer's of its
// connection, unless that is a trusted proxy. Then it is the rightmost one of
// X-Forwarded-For that is not a trusted proxy's itself: each proxy appends whom
// it was called by, so what stands further left is what a client claims, and
// worth nothing. What cannot be read ends the search, with the address to the
// right of it. The answer is not valid for a peer without an address, a Unix
// socket's.
//
// This is chi's ClientIPFromXFF, but for a header that cannot be read and one
// that holds trusted proxies alone: chi knows no address then.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	address := plainAddress(peer.Addr())
	if !isAmong(trusted, address) {
		return address
	}
	rest := strings.Join(r.Header.Values("X-Forwarded-For"), ",") // several are one list (RFC 9110, 5.3)
	for rest != "" && isAmong(trusted, address) {
		comma := strings.LastIndexByte(rest, ',')
		hop := strings.TrimSpace(rest[comma+1:])
		rest = rest[:max(comma, 0)]
		if hop == "" {
			continue // means nothing in a list (RFC 9110, 5.6.1.2)
		}
		found, ok := parseHop(hop)
		if !ok {
			break
		}
		address = found
	}
	return address
}

// parseHop reads an address; some proxies write the port too.
func parseHop(hop string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(hop)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(hop)
		address = withPort.Addr()
	}
	return plainAddress(address), err == nil
}

// plainAddress writes an address the one way in which it can be compared: IPv4
// as such, also where it came as ::ffff:192.0.2.1, and IPv6 without a zone.
func plainAddress(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

func isAmong(prefixes []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}

// networkOf is what counts as one client: an IPv4 address, or the /64 of an IPv6
// address, within which a client chooses addresses freely (RFC 4291, 2.5.4).
func networkOf(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	network, _ := address.Prefix(64) // fails for more than 128 bits
	return network.Addr()
}
