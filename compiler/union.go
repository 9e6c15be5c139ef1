package compiler

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// union gathers literals of one kind: the values of a comparison or of a set. As
// a condition it is the OR of `field ~ literal`.
type union struct {
	kind      Field
	ranges    [transports][]Range // only ports have a transport
	endpoints []endpoint
	unknown   bool
	sets      []*Set            // dynamic
	names     []*NamedInterface // for LUIDs
	products  []portTest        // of the endpoints, once normal
}

// add reads one literal. The problem may be a mere warning: then the literal has
// been added.
func (u *union) add(text string) *problem {
	if len(text) > maxLiteral {
		return wrong(codeBadValue, "", "`%s` is too long for a value", text)
	}
	if text == "unknown" {
		return u.addUnknown()
	}
	switch u.kind {
	case InterfaceType, TunnelType, Protocol:
		return u.addNamed(text)
	case NextHop:
		luid, err := parseLUID(text)
		return u.addNumbers(text, Range{Number(luid), Number(luid)}, err)
	case SubInterface, Compartment:
		r, err := parseNumbers(text, u.kind.kindName(), math.MaxUint32)
		return u.addNumbers(text, r, err)
	case RemotePort:
		r, t, err := parsePorts(text)
		if err == nil {
			u.ranges[t] = append(u.ranges[t], r)
		}
		return err
	case RemoteAddress:
		return u.addAddress(text)
	case Family:
		return u.addFamily(text)
	}
	panic(fmt.Sprintf("compiler: no literals of %s", u.kind))
}

// addPlain is add for a dynamic set, which has no room for `unknown`, a port beside an
// address, or a protocol.
func (u *union) addPlain(text string) *problem {
	p := u.add(text)
	if p == nil && (u.unknown || len(u.endpoints)+len(u.ranges[tcp])+len(u.ranges[udp]) > 0) {
		u.unknown, u.endpoints, u.ranges[tcp], u.ranges[udp] = false, nil, nil, nil
		return wrong(codeDynamicElement, "it holds addresses, prefixes, ranges, plain ports, numbers and LUIDs", "a dynamic set cannot hold `%s`", text)
	}
	return p
}

func (u *union) addUnknown() *problem {
	if u.kind.NotAvailable() == nil {
		return wrong(codeNeverUnknown, "only interface_type, tunnel_type, next_hop, sub_interface and interface can be unknown",
			"%s is always known", u.kind.kindName())
	}
	u.unknown = true
	return nil
}

// addNumbers adds a range unless there is an error, and warns of a single value
// that means "not available".
func (u *union) addNumbers(text string, r Range, err *problem) *problem {
	if err != nil {
		return err
	}
	u.ranges[anyTransport] = append(u.ranges[anyTransport], r)
	if r.First == r.Last && !u.kind.Known(r.First) {
		p := wrong(codeNotAvailableValue, "write `unknown`", "`%s` is how the host says that it does not know: this is never true", text)
		p.severity = lang.Warning
		return p
	}
	return nil
}

func (u *union) addNamed(text string) *problem {
	if isDigits(text) {
		n, err := parseNumber(text, u.kind.kindName(), u.kind.Domain().Last.Lo)
		return u.addNumbers(text, Range{Number(n), Number(n)}, err)
	}
	numbers, err := lookUp(u.kind, text)
	for _, number := range numbers {
		n := Number(uint64(number))
		u.ranges[anyTransport] = append(u.ranges[anyTransport], Range{n, n})
	}
	return err
}

func (u *union) addAddress(text string) *problem {
	if addr, port, ok := splitEndpoint(text); ok {
		e, err := parseEndpoint(text, addr, port)
		if err == nil {
			u.endpoints = append(u.endpoints, e)
		}
		return err
	}
	ranges, err := parseAddresses(text)
	u.ranges[anyTransport] = append(u.ranges[anyTransport], ranges...)
	return err
}

func (u *union) addFamily(text string) *problem {
	var n uint64
	switch text {
	case "ipv4":
		n = 4
	case "ipv6":
		n = 6
	default:
		return wrong(codeBadFamily, "write `ipv4` or `ipv6`", "`%s` is not an address family", text)
	}
	u.ranges[anyTransport] = append(u.ranges[anyTransport], Range{Number(n), Number(n)})
	return nil
}

// include adds all that another union of the kind holds.
func (u *union) include(v *union) {
	for t := range u.ranges {
		u.ranges[t] = append(u.ranges[t], v.ranges[t]...)
	}
	u.endpoints = append(u.endpoints, v.endpoints...)
	u.unknown = u.unknown || v.unknown
	u.sets = append(u.sets, v.sets...)
	u.names = append(u.names, v.names...)
}

// normalize brings the union to its shortest form.
func (u *union) normalize() {
	for t := range u.ranges {
		u.ranges[t] = normalize(u.ranges[t])
	}
	slices.SortFunc(u.endpoints, compareEndpoints)
	u.endpoints = slices.Compact(u.endpoints)
	u.products = groupEndpoints(u.endpoints)
	u.sets = distinct(u.sets)
	u.names = distinct(u.names)
}

// distinct drops repeats and keeps the order.
func distinct[T comparable](s []T) []T {
	if len(s) < 2 {
		return s
	}
	seen := make(map[T]bool, len(s))
	return slices.DeleteFunc(s, func(x T) bool {
		repeat := seen[x]
		seen[x] = true
		return repeat
	})
}

func compareEndpoints(a, b endpoint) int {
	return cmp.Or(cmp.Compare(a.transport, b.transport), cmp.Compare(a.port, b.port), a.address.Compare(b.address))
}

// size is how much the union holds.
func (u *union) size() int {
	n := len(u.endpoints) + len(u.sets) + len(u.names)
	for _, r := range u.ranges {
		n += len(r)
	}
	return n
}

// cond is the condition of a normal union on a field of its kind; port is the
// field that goes with an address.
func (u *union) cond(f, port Field) Cond {
	plain := u.ranges[anyTransport]
	if len(plain) > 0 && u.size() == len(plain) && !u.unknown {
		return In{f, plain}
	}
	var parts Any
	if len(plain) > 0 {
		parts = append(parts, In{f, plain})
	}
	var tests []portTest
	for _, t := range []transport{tcp, udp} {
		if ranges := u.ranges[t]; len(ranges) > 0 {
			tests = append(tests, portTest{ports: ranges, transports: []transport{t}})
		}
	}
	for _, t := range mergeTransports(tests) {
		parts = append(parts, t.cond(f, f))
	}
	for _, t := range u.products {
		parts = append(parts, t.cond(f, port))
	}
	for _, s := range u.sets {
		parts = append(parts, InSet{f, s})
	}
	for _, n := range u.names {
		parts = append(parts, IsInterface{f, n})
	}
	if u.unknown {
		parts = append(parts, Unknown{f})
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return parts
}

// portTest is the product of addresses, ports and transports; the empty list of
// addresses and the transport `any` stand for no test.
type portTest struct {
	addresses, ports []Range
	transports       []transport
}

func (t portTest) cond(address, port Field) Cond {
	var parts All
	if len(t.addresses) > 0 {
		parts = append(parts, In{address, t.addresses})
	}
	parts = append(parts, In{port, t.ports})
	if t.transports[0] != anyTransport {
		var numbers []Range
		for _, p := range t.transports {
			n := Number(protocols[p])
			numbers = append(numbers, Range{n, n})
		}
		parts = append(parts, In{Protocol, numbers})
	}
	return parts
}

// groupEndpoints joins sorted endpoints into few products: addresses with the
// same port, then ports with the same addresses, then tcp with udp.
func groupEndpoints(endpoints []endpoint) []portTest {
	var tests []portTest
	for i := 0; i < len(endpoints); {
		first := endpoints[i]
		var addresses []Range
		for ; i < len(endpoints) && endpoints[i].transport == first.transport && endpoints[i].port == first.port; i++ {
			addresses = append(addresses, Range{endpoints[i].address, endpoints[i].address})
		}
		port := Number(uint64(first.port))
		tests = append(tests, portTest{normalize(addresses), []Range{{port, port}}, []transport{first.transport}})
	}
	slices.SortStableFunc(tests, func(a, b portTest) int {
		return cmp.Or(slices.Compare(a.transports, b.transports), slices.CompareFunc(a.addresses, b.addresses, Range.compare))
	})
	var grouped []portTest
	for _, t := range tests {
		if n := len(grouped); n > 0 && slices.Equal(grouped[n-1].transports, t.transports) && slices.Equal(grouped[n-1].addresses, t.addresses) {
			grouped[n-1].ports = append(grouped[n-1].ports, t.ports...)
			continue
		}
		grouped = append(grouped, t)
	}
	for i := range grouped {
		grouped[i].ports = normalize(grouped[i].ports)
	}
	return mergeTransports(grouped)
}

// mergeTransports joins tests that differ in their transport only.
func mergeTransports(tests []portTest) []portTest {
	if len(tests) < 2 {
		return tests
	}
	slices.SortStableFunc(tests, func(a, b portTest) int {
		return cmp.Or(slices.CompareFunc(a.addresses, b.addresses, Range.compare), slices.CompareFunc(a.ports, b.ports, Range.compare))
	})
	var merged []portTest
	for _, t := range tests {
		n := len(merged)
		if n == 0 || t.transports[0] == anyTransport || merged[n-1].transports[0] == anyTransport ||
			!slices.Equal(merged[n-1].addresses, t.addresses) || !slices.Equal(merged[n-1].ports, t.ports) {
			merged = append(merged, t)
			continue
		}
		merged[n-1].transports = append(merged[n-1].transports, t.transports...)
	}
	return merged
}
