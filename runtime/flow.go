package runtime

import (
	"net/netip"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// Flow is one connection. It is live from the decision that lets it pass until it
// is closed or a reauthorization denies it.
type Flow struct {
	owner  *Hook
	hook   compiler.Hook
	cookie uint64
	mapped bool // opened to an IPv4-mapped IPv6 address

	request         compiler.Request // the new destination, if redirected; the network it is on
	redirectVerdict lang.Verdict     // kept for the connection
	redirectContext []byte
}

// Cookie identifies the connection: what helper get_socket_cookie gives.
func (f *Flow) Cookie() uint64 { return f.cookie }

// Live reports whether the connection stands.
func (f *Flow) Live() bool {
	f.owner.mu.Lock()
	defer f.owner.mu.Unlock()
	return slices.Contains(f.owner.flows, f)
}

// Close ends the connection; closing it twice does nothing.
func (f *Flow) Close() {
	f.owner.mu.Lock()
	defer f.owner.mu.Unlock()
	f.owner.setLive(f, false)
}

// RedirectContext is what a redirect program left for the proxy that takes over
// the connection (helper set_redirect_context), or nil.
func (f *Flow) RedirectContext() []byte {
	f.owner.mu.Lock()
	defer f.owner.mu.Unlock()
	return slices.Clone(f.redirectContext)
}

// Reauthorize moves the connection to a network and calls the authorization
// programs again. For an inbound connection, and for one that is no longer live,
// it does nothing and gives nil.
func (f *Flow) Reauthorize(n Network) *Result {
	h := f.owner
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.hook != compiler.Connect || !slices.Contains(h.flows, f) {
		return nil
	}
	n.Apply(&f.request)
	return h.reauthorize(f)
}

// Connect opens an outbound connection. The redirect programs run first; then, on
// the route that the network context of the request describes, the authorization
// programs. The flow is live unless the verdict is Deny.
func (h *Hook) Connect(r *compiler.Request) (*Flow, *Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.newFlow(compiler.Connect, r)
	result := &Result{Flow: f, Stage: Connecting}
	original := f.request

	s := h.redirect(f, result)
	f.redirectVerdict = s.verdict
	redirected := f.request.Remote != original.Remote
	if s.verdict != lang.Deny && redirected && !h.opts.AuthorizeOnce {
		s = h.authorizeTwice(f, &original, s, result)
	} else if s.verdict != lang.Deny {
		s = h.authorize(f, &f.request, s, result)
	}
	return h.settle(result, s)
}

// Accept judges an inbound connection with the recv_accept programs, once: it is
// never reauthorized. The flow is live unless the verdict is Deny.
func (h *Hook) Accept(r *compiler.Request) (*Flow, *Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.newFlow(compiler.Accept, r)
	result := &Result{Flow: f, Stage: Accepting}
	return h.settle(result, h.authorize(f, &f.request, undecided, result))
}

// Reauthorize calls the authorization programs again for every live outbound
// connection, oldest first, as Windows does after a change of policy. A
// connection that gets Deny is dropped.
func (h *Hook) Reauthorize() []*Result {
	return h.reauthorizeAll(func(*Flow) {})
}

// SetNetwork moves every live outbound connection to a network and reauthorizes
// it, as Windows does after a change of route.
func (h *Hook) SetNetwork(n Network) []*Result {
	return h.reauthorizeAll(func(f *Flow) { n.Apply(&f.request) })
}

// Flows lists the live connections, oldest first.
func (h *Hook) Flows() []*Flow {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.flows)
}

// newFlow is the flow of a request, as one of IPv4 if it is IPv4-mapped: a
// dual-stack socket that is bound to :: shows as bound to 0.0.0.0 then.
func (h *Hook) newFlow(hook compiler.Hook, r *compiler.Request) *Flow {
	h.cookie++
	f := &Flow{owner: h, hook: hook, cookie: h.cookie, request: *r}
	if f.mapped = r.Remote.Addr().Is4In6(); f.mapped {
		local := r.Local.Addr().Unmap()
		if local == netip.IPv6Unspecified() {
			local = netip.IPv4Unspecified()
		}
		f.request.Remote = netip.AddrPortFrom(r.Remote.Addr().Unmap(), r.Remote.Port())
		f.request.Local = netip.AddrPortFrom(local, r.Local.Port())
	}
	return f
}

func (h *Hook) reauthorizeAll(move func(*Flow)) []*Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	var results []*Result
	for _, f := range slices.Clone(h.flows) {
		if f.hook == compiler.Connect {
			move(f)
			results = append(results, h.reauthorize(f))
		}
	}
	return results
}

// reauthorize starts from the verdict kept from the redirect layer, whose
// programs are not called again.
func (h *Hook) reauthorize(f *Flow) *Result {
	result := &Result{Flow: f, Stage: Reauthorizing}
	kept := standing{f.redirectVerdict, -1}
	if h.opts.ForgetRedirect {
		kept = undecided
	}
	_, result = h.settle(result, h.authorize(f, &f.request, kept, result))
	return result
}

// settle writes the outcome into the result and enters the flow among the live
// ones, or takes it out.
func (h *Hook) settle(result *Result, s standing) (*Flow, *Result) {
	result.Request, result.Verdict, result.By = result.Flow.request, s.verdict, s.by
	h.setLive(result.Flow, s.verdict != lang.Deny)
	return result.Flow, result
}

func (h *Hook) setLive(f *Flow, live bool) {
	i := slices.Index(h.flows, f)
	switch {
	case live && i < 0:
		h.flows = append(h.flows, f)
	case !live && i >= 0:
		h.flows = slices.Delete(h.flows, i, i+1)
	}
}

// standing is the verdict on a connection so far, and the call that it is owed
// to: an index into Result.Calls, or -1 for none.
type standing struct {
	verdict lang.Verdict
	by      int
}

// undecided is the standing where no program has run: a soft permit.
var undecided = standing{lang.Allow, -1}

// redirect runs the programs of the redirect layer. The first that changes the
// destination ends the chain, and the flow goes there unless it is rejected.
func (h *Hook) redirect(f *Flow, result *Result) standing {
	at := redirectLayer(&f.request)
	s := undecided
	for _, fn := range h.chain(at, f.request.Compartment) {
		call, changed := h.invoke(fn, at, f, &f.request)
		s = s.after(call, len(result.Calls), 0)
		result.Calls = append(result.Calls, call)
		if call.Verdict == lang.Deny {
			break
		}
		if to := SockAddrRequest(h.call.context[:], at).Remote; changed && to != f.request.Remote {
			f.request.Remote = to
			break
		}
	}
	return s
}

// authorizeTwice authorizes a redirected flow for its original destination, then
// for the new one. A reject of either stands, and only two hard permits make
// one. The original destination of an IPv4-mapped flow shows as 0.0.0.0.
func (h *Hook) authorizeTwice(f *Flow, original *compiler.Request, s standing, result *Result) standing {
	shown := *original
	if f.mapped {
		shown.Remote = netip.AddrPortFrom(netip.IPv4Unspecified(), original.Remote.Port())
	}
	first := h.authorize(f, &shown, s, result)
	if first.verdict == lang.Deny {
		return first
	}
	second := h.authorize(f, &f.request, s, result)
	if second.verdict == lang.AllowHard && first.verdict == lang.Allow {
		return first
	}
	return second
}

// authorize runs the programs of the flow's authorization layer on what is shown
// of it, after the standing it comes with.
func (h *Hook) authorize(f *Flow, shown *compiler.Request, s standing, result *Result) standing {
	at := AuthorizationLayer(f.hook, shown)
	begin := len(result.Calls)
	for _, fn := range h.chain(at, shown.Compartment) {
		call, changed := h.invoke(fn, at, f, shown)
		if changed && f.hook == compiler.Connect && h.opts.ContextChange == BlockOnChange {
			call.Verdict, call.Blocked = lang.Deny, true
		}
		s = s.after(call, len(result.Calls), begin)
		result.Calls = append(result.Calls, call)
		if call.Verdict == lang.Deny {
			break
		}
	}
	return s
}

// after is the standing after one more call, the i-th. The stricter verdict
// stands: Deny before AllowHard before Allow. Of equal ones the first call of a
// layer is named, which began with call begin.
func (s standing) after(call Call, i, begin int) standing {
	if p, q := priority(call.Verdict), priority(s.verdict); p > q || p == q && s.by < begin {
		return standing{call.Verdict, i}
	}
	return s
}

func priority(v lang.Verdict) int {
	switch v {
	case lang.Allow:
		return 0
	case lang.AllowHard:
		return 1
	}
	return 2
}

// chain lists the functions to invoke at a layer: those attached for the
// connection's compartment, then those attached for any, each in attach order.
func (h *Hook) chain(at codegen.AttachType, compartment uint32) []*function {
	var chain, any []*function
	for _, link := range h.links {
		switch {
		case link.compartment == 0:
			any = append(any, link.instance.functions[at]...)
		case link.compartment == compartment:
			chain = append(chain, link.instance.functions[at]...)
		}
	}
	return append(chain, any...)
}
