package compiler

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// problem is what is wrong with a word; whoever knows its place reports it.
type problem struct {
	severity lang.Severity
	code     string
	message  string
	hint     string
}

func (p *problem) Error() string { return p.message }

// wrong makes a problem that is an error; long arguments are cut.
func wrong(code, hint, format string, args ...any) *problem {
	for i, arg := range args {
		if s, ok := arg.(string); ok && len(s) > maxLiteral {
			args[i] = strings.ToValidUTF8(s[:maxLiteral], "") + "…"
		}
	}
	return &problem{code: code, hint: hint, message: fmt.Sprintf(format, args...)}
}

// maxLiteral is more bytes than any literal has.
const maxLiteral = 100

// transport is the `/tcp` or `/udp` after a port.
type transport uint8

const (
	anyTransport transport = iota
	tcp
	udp
	transports int = iota
)

// protocols gives the IP protocol number of a transport (IANA protocol-numbers).
var protocols = [transports]uint64{tcp: 6, udp: 17}

// kind is the field that stands for all fields with the same kind of literals:
// remote_address for both addresses, remote_port for both ports, next_hop for
// both LUIDs.
func (f Field) kind() Field {
	switch f {
	case LocalAddress:
		return RemoteAddress
	case LocalPort:
		return RemotePort
	case Interface:
		return NextHop
	}
	return f
}

// kindNames say what a literal of each kind is.
var kindNames = [NumFields]string{
	InterfaceType: "an interface type",
	TunnelType:    "a tunnel type",
	NextHop:       "an interface LUID",
	SubInterface:  "a sub-interface index",
	RemoteAddress: "an address",
	RemotePort:    "a port",
	Protocol:      "a protocol",
	Family:        "an address family",
	Compartment:   "a compartment",
}

// kindName is what literals of the field are, with its article: `an address`.
func (f Field) kindName() string { return kindNames[f.kind()] }

// isDigits reports whether text is decimal digits and nothing else.
func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

// parseNumber reads decimal digits; leading zeros mean nothing. What says what
// the number is, for messages.
func parseNumber(text, what string, limit uint64) (uint64, *problem) {
	if !isDigits(text) {
		return 0, wrong(codeBadNumber, numberHint(text), "`%s` is not a number", text)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > limit {
		return 0, wrong(codeOutOfRange, "", "`%s` is too large for %s, the largest is %d", text, what, limit)
	}
	return n, nil
}

// numberHint guesses which number was meant.
func numberHint(text string) string {
	if n, err := strconv.ParseUint(text, 0, 64); err == nil {
		return fmt.Sprintf("write `%d`", n)
	}
	if x, err := strconv.ParseFloat(text, 64); err == nil && x >= 0 && x == math.Trunc(x) && x < 1<<53 {
		return fmt.Sprintf("write `%d`", uint64(x))
	}
	return ""
}

// parseNumbers reads `n` or `lo-hi`.
func parseNumbers(text, what string, limit uint64) (Range, *problem) {
	lo, hi, ranged := strings.Cut(text, "-")
	if !ranged {
		hi = lo
	}
	if !isDigits(lo) || !isDigits(hi) {
		hint := numberHint(text)
		if hint == "" {
			hint = "write a number or a range, as in `7` or `1-9`"
		}
		return Range{}, wrong(codeBadNumber, hint, "`%s` is not a number", text)
	}
	first, err := parseNumber(lo, what, limit)
	if err != nil {
		return Range{}, err
	}
	last, err := parseNumber(hi, what, limit)
	if err != nil {
		return Range{}, err
	}
	if first > last {
		return Range{}, wrong(codeReversedRange, fmt.Sprintf("write `%s-%s`", hi, lo), "the range `%s` ends before it starts", text)
	}
	return Range{Number(first), Number(last)}, nil
}

// parsePorts reads `n` or `lo-hi`, with an optional `/tcp` or `/udp`.
func parsePorts(text string) (Range, transport, *problem) {
	ports, suffix, has := strings.Cut(text, "/")
	r, err := parseNumbers(ports, "a port", math.MaxUint16)
	if err != nil && err.code == codeBadNumber {
		hint := numberHint(ports)
		if hint == "" {
			hint = "write a number or a range, as in `443`, `443/tcp` or `8000-8080/tcp`"
		}
		err = wrong(codeBadPort, hint, "`%s` is not a port", text)
	}
	if err != nil {
		return r, anyTransport, err
	}
	if !has {
		return r, anyTransport, nil
	}
	t, err := parseTransport(text, suffix)
	return r, t, err
}

func parseTransport(text, suffix string) (transport, *problem) {
	switch suffix {
	case "tcp":
		return tcp, nil
	case "udp":
		return udp, nil
	}
	stem := strings.TrimSuffix(text, "/"+suffix)
	hint := fmt.Sprintf("write `%s/tcp` or `%s/udp`, or test protocol apart", stem, stem)
	if lower := strings.ToLower(suffix); lower != suffix && (lower == "tcp" || lower == "udp") {
		hint = fmt.Sprintf("write `%s/%s`", stem, lower)
	}
	return 0, wrong(codeBadTransport, hint, "`%s` after a port is neither tcp nor udp", suffix)
}
