package hook

import (
	"testing"

	"github.com/hopgate/hopgate/runtime"
)

const proxy = "127.0.0.1:8080"

// The redirect layer runs first, before there is a route.
func TestRedirectVerdicts(t *testing.T) {
	for _, s := range []story{{
		name: "a reject at the redirect layer skips authorization",
		attached: []attached{
			{"redirect: reject", redirect4, returns(reject), 0},
			{"hard permit", authorize4, returns(proceedHard), 0},
		},
		steps: []step{connect(server, "deny | redirect: reject: deny"), live("0")},
	}, {
		name: "a soft permit of the redirect layer is followed by authorization",
		attached: []attached{
			{"redirect: soft", redirect4, returns(proceedSoft), 0},
			{"reject", authorize4, returns(reject), 0},
		},
		steps: []step{connect(server, "deny | redirect: soft: allow, reject: deny")},
	}, {
		name: "a hard permit of the redirect layer is followed by authorization too",
		attached: []attached{
			{"redirect: hard", redirect4, returns(proceedHard), 0},
			{"reject", authorize4, returns(reject), 0},
		},
		steps: []step{connect(server, "deny | redirect: hard: allow-hard, reject: deny")},
	}, {
		name: "the redirect layer's verdict is kept: a soft permit does not weaken its hard one",
		attached: []attached{
			{"redirect: hard", redirect4, returns(proceedHard), 0},
			{"soft permit", authorize4, returns(proceedSoft), 0},
		},
		steps: []step{connect(server, "allow-hard | redirect: hard: allow-hard, soft permit: allow")},
	}, {
		name:     "without authorization programs it stands alone",
		attached: []attached{{"redirect: hard", redirect4, returns(proceedHard), 0}},
		steps:    []step{connect(server, "allow-hard | redirect: hard: allow-hard")},
	}, {
		name: "an unknown verdict or a fault at the redirect layer is a reject",
		attached: []attached{
			{"faults", redirect4, faults(), 0},
			{"returns 7", redirect6, returns(7), 0},
		},
		steps: []step{connect(server, "deny | faults: deny"), connect("[2001:db8::1]:443", "deny | returns 7: deny")},
	}} {
		t.Run(s.name, s.run)
	}
}

// A redirect program changes the destination. The connection may be authorized
// for the original destination too.
func TestRedirectedConnections(t *testing.T) {
	toProxy := attached{"to proxy", redirect4, sendsTo(proxy, proceedSoft), 0}
	soft := attached{"soft permit", authorize4, returns(proceedSoft), 0}
	for _, s := range []story{{
		name:     "it is authorized twice: for the original destination, then for the new one",
		attached: []attached{toProxy, soft},
		steps: []step{connect(server,
			"allow | to proxy: allow (shown 192.0.2.1:443), soft permit: allow (shown 192.0.2.1:443), soft permit: allow")},
	}, {
		name:     "it may be authorized once, for the new destination",
		options:  runtime.HookOptions{AuthorizeOnce: true},
		attached: []attached{toProxy, soft},
		steps:    []step{connect(server, "allow | to proxy: allow (shown 192.0.2.1:443), soft permit: allow")},
	}, {
		name:     "a reject of the original destination blocks it",
		attached: []attached{toProxy, {"not the server", authorize4, onRemote("192.0.2.1", reject, proceedSoft), 0}},
		steps: []step{connect(server,
			"deny | to proxy: allow (shown 192.0.2.1:443), not the server: deny (shown 192.0.2.1:443)"), live("0")},
	}, {
		name:     "a reject of the new destination blocks it",
		attached: []attached{toProxy, {"not the proxy", authorize4, onRemote("127.0.0.1", reject, proceedSoft), 0}},
		steps: []step{connect(server,
			"deny | to proxy: allow (shown 192.0.2.1:443), not the proxy: allow (shown 192.0.2.1:443), not the proxy: deny")},
	}, {
		name:     "both have to be hard permits for a hard permit",
		attached: []attached{toProxy, {"hard for the proxy", authorize4, onRemote("127.0.0.1", proceedHard, proceedSoft), 0}},
		steps: []step{connect(server,
			"allow | to proxy: allow (shown 192.0.2.1:443), hard for the proxy: allow (shown 192.0.2.1:443), hard for the proxy: allow-hard")},
	}, {
		name:     "two hard permits make one",
		attached: []attached{toProxy, {"hard permit", authorize4, returns(proceedHard), 0}},
		steps: []step{connect(server,
			"allow-hard | to proxy: allow (shown 192.0.2.1:443), hard permit: allow-hard (shown 192.0.2.1:443), hard permit: allow-hard")},
	}, {
		name:     "an IPv4-mapped connection shows remote 0.0.0.0 once",
		attached: []attached{toProxy, soft},
		steps: []step{connect("[::ffff:192.0.2.1]:443",
			"allow | to proxy: allow (shown 192.0.2.1:443), soft permit: allow (shown 0.0.0.0:443), soft permit: allow")},
	}, {
		name:     "a reject keeps the connection from being redirected",
		attached: []attached{{"rejects and redirects", redirect4, sendsTo(proxy, reject), 0}, soft},
		steps:    []step{connect(server, "deny | rejects and redirects: deny")},
	}, {
		name:     "the port alone can be redirected",
		attached: []attached{{"to port 8443", redirect4, setsPort(8443, proceedSoft), 0}, soft},
		steps: []step{connect(server,
			"allow | to port 8443: allow (shown 192.0.2.1:443), soft permit: allow (shown 192.0.2.1:443), soft permit: allow")},
	}, {
		name:     "writing back the same destination redirects nothing",
		attached: []attached{{"writes back", redirect4, writesBack(proceedSoft), 0}, soft},
		steps:    []step{connect(server, "allow | writes back: allow, soft permit: allow")},
	}, {
		name:     "the first program that redirects ends the chain of its layer",
		attached: []attached{toProxy, {"redirect: reject", redirect4, returns(reject), 0}},
		steps:    []step{connect(server, "allow | to proxy: allow (shown 192.0.2.1:443)")},
	}} {
		t.Run(s.name, s.run)
	}
}

// At the authorization layer the context is read-only.
func TestContextChange(t *testing.T) {
	discard := runtime.HookOptions{ContextChange: runtime.DiscardChange}
	changes := func(verdict int32) attached {
		return attached{"changes the port", authorize4, setsPort(8443, verdict), 0}
	}
	next := attached{"next", authorize4, returns(proceedSoft), 0}
	for _, s := range []story{{
		name:     "a change blocks the connection, whatever the program returned",
		attached: []attached{changes(proceedHard), next},
		steps:    []step{connect(server, "deny | changes the port: deny"), live("0")},
	}, {
		name:     "as an option the change is discarded and the verdict kept",
		options:  discard,
		attached: []attached{changes(proceedHard), next},
		steps:    []step{connect(server, "allow-hard | changes the port: allow-hard, next: allow")},
	}, {
		name:     "the next program does not see a discarded change",
		options:  discard,
		attached: []attached{{"changes the address", authorize4, sendsTo("192.0.2.66:443", proceedSoft), 0}, {"sees it", authorize4, onRemote("192.0.2.66", reject, proceedSoft), 0}},
		steps:    []step{connect(server, "allow | changes the address: allow, sees it: allow")},
	}, {
		name:     "a discarded change does not undo a reject",
		options:  discard,
		attached: []attached{changes(reject), next},
		steps:    []step{connect(server, "deny | changes the port: deny")},
	}, {
		name:     "writing back the same value is no change",
		attached: []attached{{"writes back", authorize4, writesBack(proceedHard), 0}, next},
		steps:    []step{connect(server, "allow-hard | writes back: allow-hard, next: allow")},
	}, {
		name:     "a change at recv_accept has no effect",
		attached: []attached{{"changes the port", recvAccept4, setsPort(8443, proceedSoft), 0}},
		steps:    []step{accept(server, "allow | changes the port: allow")},
	}} {
		t.Run(s.name, s.run)
	}
}

// Live connections are judged again when the route or the policy changes.
func TestReauthorization(t *testing.T) {
	softRedirect := attached{"redirect: soft", redirect4, returns(proceedSoft), 0}
	noWifi := attached{"not on wifi", authorize4, onInterfaceType(71, reject, proceedSoft), 0}
	for _, s := range []story{{
		name:     "a connection is dropped where its verdict flips to reject",
		attached: []attached{noWifi},
		steps: []step{
			connect(server, "allow | not on wifi: allow"),
			live("1"),
			move(wifi, "deny | not on wifi: deny"),
			live("0"),
			move(ethernet, ""),
		},
	}, {
		name:     "a permit may change its strength",
		attached: []attached{{"hard on wifi", authorize4, onInterfaceType(71, proceedHard, proceedSoft), 0}},
		steps: []step{
			connect(server, "allow | hard on wifi: allow"),
			move(wifi, "allow-hard | hard on wifi: allow-hard"),
			move(ethernet, "allow | hard on wifi: allow"),
			live("1"),
		},
	}, {
		name:     "the redirect programs are not called again",
		attached: []attached{softRedirect, noWifi},
		steps: []step{
			connect(server, "allow | redirect: soft: allow, not on wifi: allow"),
			reauthorize("allow | not on wifi: allow"),
		},
	}, {
		name:     "their verdict still counts",
		attached: []attached{{"redirect: hard", redirect4, returns(proceedHard), 0}, noWifi},
		steps: []step{
			connect(server, "allow-hard | redirect: hard: allow-hard, not on wifi: allow"),
			reauthorize("allow-hard | not on wifi: allow"),
		},
	}, {
		name:     "as an option it was for the first authorization only",
		options:  runtime.HookOptions{ForgetRedirect: true},
		attached: []attached{{"redirect: hard", redirect4, returns(proceedHard), 0}, noWifi},
		steps: []step{
			connect(server, "allow-hard | redirect: hard: allow-hard, not on wifi: allow"),
			reauthorize("allow | not on wifi: allow"),
			move(wifi, "deny | not on wifi: deny"),
		},
	}, {
		name:     "a redirected connection is reauthorized for where it goes",
		attached: []attached{{"to proxy", redirect4, sendsTo(proxy, proceedSoft), 0}, noWifi},
		steps: []step{
			connect(server, "allow | to proxy: allow (shown 192.0.2.1:443), not on wifi: allow (shown 192.0.2.1:443), not on wifi: allow"),
			reauthorize("allow | not on wifi: allow"),
		},
	}, {
		name:     "the recv_accept programs are not called again",
		attached: []attached{{"accept", recvAccept4, returns(proceedSoft), 0}},
		steps: []step{
			accept(server, "allow | accept: allow"),
			move(wifi, ""),
			live("1"),
		},
	}, {
		name:     "a change of policy reaches live connections",
		attached: []attached{{"policy", authorize4, returns(proceedSoft), 0}},
		steps: []step{
			connect(server, "allow | policy: allow"),
			connect("192.0.2.2:443", "allow | policy: allow"),
			update("policy", authorize4, onRemote("192.0.2.2", reject, proceedSoft)),
			live("2"),
			reauthorize("allow | policy: allow; deny | policy: deny"),
			live("1"),
		},
	}, {
		name:     "connections that are closed or were blocked are left alone",
		attached: []attached{noWifi},
		steps: []step{
			connect(server, "allow | not on wifi: allow"),
			connect("192.0.2.2:443", "allow | not on wifi: allow"),
			closes(1),
			move(wifi, "deny | not on wifi: deny"),
			closes(2),
			move(ethernet, ""),
		},
	}, {
		name:     "a context change blocks then too",
		attached: []attached{{"policy", authorize4, returns(proceedSoft), 0}},
		steps: []step{
			connect(server, "allow | policy: allow"),
			update("policy", authorize4, setsPort(1, proceedHard)),
			reauthorize("deny | policy: deny"),
			live("0"),
		},
	}} {
		t.Run(s.name, s.run)
	}
}
