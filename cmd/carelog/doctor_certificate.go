package main

import "time"

// renewBefore is how long before its end a certificate should have been renewed by
// whatever does that.
const renewBefore = 14 * 24 * time.Hour

// certificates checks those that clients and subscribers are shown.
func (c *checkup) certificates() {
	api, nats := c.config.keyPairs()
	for _, pair := range []keyPair{api, nats} {
		c.certificate(pair)
	}
}

func (c *checkup) certificate(of keyPair) {
	const check, mend = "certificate", "renew it; the server takes the new files without a restart"
	if of.cert == "" || of.key == "" {
		return // there is none, or a setting is missing, which was told
	}
	loaded, err := of.load()
	if err != nil {
		c.fail(check, "", "%v", err)
		return
	}
	expires := loaded.pair.Leaf.NotAfter
	told := expires.UTC().Format(time.RFC3339)
	switch left := time.Until(expires); {
	case left < 0:
		c.fail(check, mend, "that of %s_CERT has expired at %s", of.prefix, told)
	case left < renewBefore:
		c.warn(check, mend, "that of %s_CERT expires at %s", of.prefix, told)
	default:
		c.ok(check, "that of %s_CERT is good until %s", of.prefix, told)
	}
}
