package scenario

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/hopgate/hopgate/lang"
)

var (
	topKeys     = []string{"networks", "steps"}
	networkKeys = []string{"interface_type", "tunnel_type", "next_hop", "sub_interface", "interface"}
	name        = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

	// stepKeys are the keys of each kind of step; the first is the one that
	// tells the kind.
	stepKeys = [...][]string{
		Move:     {"network", "expect", "by"},
		Connect:  {"connect", "flow", "expect", "by"},
		Accept:   {"accept", "flow", "expect", "by"},
		Redirect: {"redirect"},
		Close:    {"close"},
	}
)

// reader makes a scenario of a YAML document and collects what is wrong with it.
type reader struct{ *lang.Document }

// Parse reads a scenario file. The error is a lang.Diagnostics.
func Parse(filename string, text []byte) (*Scenario, error) {
	doc, err := lang.ReadYAML("scenario", filename, text)
	if err != nil {
		return nil, err
	}
	r := reader{doc}
	s := &Scenario{Source: doc.Source()}
	var steps []*yaml.Node
	for _, e := range r.mapping(doc.Root, "a scenario", topKeys) {
		switch e.Key.Text {
		case "networks":
			for _, n := range r.mapping(e.Value, "`networks`", nil) {
				s.Networks = append(s.Networks, r.network(n))
			}
		case "steps":
			steps = r.Items(e.Value)
			if len(steps) == 0 && r.Errors() == 0 {
				r.Errorf(e.Key.Span, "empty", "`steps` is empty")
			}
		}
	}
	if steps == nil && r.Errors() == 0 {
		r.Errorf(r.Place(doc.Root), "missing-key", "a scenario needs `steps`")
	}
	flows := flowNames{}
	for _, n := range steps {
		s.Steps = append(s.Steps, r.step(n, s.Networks, &flows))
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// mapping lists the entries of a mapping; what says what it is. Keys that are not
// among the known ones are errors, unless known is nil.
func (r reader) mapping(n *yaml.Node, what string, known []string) []lang.Entry {
	if known == nil {
		return r.Entries(n, what)
	}
	entries := r.Entries(n, what+" with the keys "+strings.Join(known, ", "))
	return slices.DeleteFunc(entries, func(e lang.Entry) bool {
		if slices.Contains(known, e.Key.Text) {
			return false
		}
		r.Errorf(e.Key.Span, "unknown-key", "%s has no key `%s`", what, e.Key.Text).Hint = suggest(e.Key.Text, known)
		return true
	})
}

func suggest(word string, candidates []string) string {
	if s := lang.Suggest(word, candidates); s != "" {
		return "did you mean `" + s + "`?"
	}
	return "the keys are " + strings.Join(candidates, ", ")
}

func (r reader) network(e lang.Entry) Network {
	if !name.MatchString(e.Key.Text) {
		r.Errorf(e.Key.Span, "bad-id", "`%s` is no name for a network: lower-case letters, digits, `-` and `_`", e.Key.Text)
	}
	return Network{Span: e.Key.Span, Name: e.Key.Text, Given: r.given(e.Value, "a network", networkKeys)}
}

// given reads field values; what a field is called and what its value means is
// the compiler's business.
func (r reader) given(n *yaml.Node, what string, known []string) []lang.Given {
	var given []lang.Given
	for _, e := range r.mapping(n, what, known) {
		if value, ok := r.Value(e.Value); ok {
			given = append(given, lang.Given{Span: e.Span, Field: e.Key, Value: value})
		}
	}
	return given
}

// flowNames are the names of the connections that steps have opened so far.
type flowNames struct {
	names []string
	first map[string]lang.Span
}

func (f *flowNames) known(name string) bool { return slices.Contains(f.names, name) }

func (r reader) step(n *yaml.Node, networks []Network, flows *flowNames) Step {
	step := Step{Span: r.Place(n)}
	sound := r.Errors()
	entries := r.mapping(n, "a step", nil)
	action := slices.IndexFunc(entries, func(e lang.Entry) bool { return slices.Contains(actions[:], e.Key.Text) })
	if action < 0 {
		if r.Errors() == sound {
			r.Errorf(step.Span, "missing-key", "the step says nothing to do").Hint = actionHint(entries)
		}
		return step
	}
	step.Action = Action(slices.Index(actions[:], entries[action].Key.Text))
	step.Span = entries[action].Key.Span
	what := entries[action].Value
	switch step.Action {
	case Move:
		step.Network = r.networkRef(what, networks)
	case Connect, Accept:
		step.Given = r.given(what, "a connection", nil)
		step.Flow = r.newFlow(entries, flows)
	case Redirect:
		step.From, step.To = r.redirect(what)
	case Close:
		step.Flow = r.flowRef(what, flows)
	}
	var verdict, by *yaml.Node
	keys := stepKeys[step.Action]
	for _, e := range entries {
		switch {
		case !slices.Contains(keys, e.Key.Text) && slices.Contains(actions[:], e.Key.Text):
			r.Errorf(e.Key.Span, "unknown-key", "a step does one thing: `%s` or `%s`", step.Action, e.Key.Text)
		case !slices.Contains(keys, e.Key.Text):
			r.Errorf(e.Key.Span, "unknown-key", "a `%s` step has no key `%s`", step.Action, e.Key.Text).Hint = suggest(e.Key.Text, keys)
		case e.Key.Text == "expect":
			verdict = e.Value
		case e.Key.Text == "by":
			by = e.Value
		}
	}
	if step.Action == Move {
		step.Expect = r.expectations(verdict, by, flows)
	} else if e, ok := r.expectation(step.Flow, verdict, by); ok {
		step.Expect = []Expectation{e}
	}
	return step
}

// actionHint says what a step without an action may have been meant to do.
func actionHint(entries []lang.Entry) string {
	for _, e := range entries {
		if s := lang.Suggest(e.Key.Text, actions[:]); s != "" {
			return "did you mean `" + s + "` for `" + e.Key.Text + "`?"
		}
	}
	return "a step has one of network, connect, accept, redirect, close"
}

func (r reader) networkRef(n *yaml.Node, networks []Network) int {
	word, ok := r.Value(n)
	if !ok {
		return 0
	}
	i := slices.IndexFunc(networks, func(n Network) bool { return n.Name == word.Text })
	if i < 0 {
		var names []string
		for _, n := range networks {
			names = append(names, n.Name)
		}
		d := r.Errorf(word.Span, "undefined-name", "there is no network `%s`", word.Text)
		if s := lang.Suggest(word.Text, names); s != "" {
			d.Hint = "did you mean `" + s + "`?"
		}
		return 0
	}
	return i
}

// newFlow names a connection: by its `flow` key, else by its number.
func (r reader) newFlow(entries []lang.Entry, flows *flowNames) string {
	given := strconv.Itoa(len(flows.names) + 1)
	for _, e := range entries {
		if e.Key.Text != "flow" {
			continue
		}
		word, ok := r.Value(e.Value)
		switch {
		case !ok:
		case !name.MatchString(word.Text):
			r.Errorf(word.Span, "bad-id", "`%s` is no name for a flow: lower-case letters, digits, `-` and `_`, a letter first", word.Text)
		case flows.known(word.Text):
			r.Errorf(word.Span, "duplicate-name", "there is a flow `%s` already", word.Text).
				Notes = []lang.Note{{Span: flows.first[word.Text], Message: "first here"}}
		default:
			given = word.Text
			if flows.first == nil {
				flows.first = map[string]lang.Span{}
			}
			flows.first[given] = word.Span
		}
	}
	flows.names = append(flows.names, given)
	return given
}

func (r reader) flowRef(n *yaml.Node, flows *flowNames) string {
	word, ok := r.Value(n)
	if ok && !r.isFlow(word, flows) {
		return ""
	}
	return word.Text
}

func (r reader) isFlow(word lang.Word, flows *flowNames) bool {
	if flows.known(word.Text) {
		return true
	}
	d := r.Errorf(word.Span, "undefined-name", "no step before has a flow `%s`", word.Text)
	if i, err := strconv.Atoi(word.Text); err == nil && i >= 1 && i <= len(flows.names) {
		d.Hint = "connection " + word.Text + " is called `" + flows.names[i-1] + "`"
	} else if s := lang.Suggest(word.Text, flows.names); s != "" {
		d.Hint = "did you mean `" + s + "`?"
	}
	return false
}

// expectations reads the `expect` and `by` of a move: mappings from flows.
func (r reader) expectations(verdicts, rules *yaml.Node, flows *flowNames) []Expectation {
	var expect []Expectation
	index := map[string]int{}
	at := func(key lang.Word) *Expectation {
		i, ok := index[key.Text]
		if !ok {
			i = len(expect)
			index[key.Text] = i
			expect = append(expect, Expectation{Span: key.Span, Flow: key.Text})
		}
		return &expect[i]
	}
	if verdicts != nil {
		for _, e := range r.mapping(verdicts, "`expect` of a move", nil) {
			if r.isFlow(e.Key, flows) {
				at(e.Key).Verdict = r.verdict(e.Value)
			}
		}
	}
	if rules != nil {
		for _, e := range r.mapping(rules, "`by` of a move", nil) {
			if word, ok := r.Value(e.Value); ok && r.isFlow(e.Key, flows) {
				at(e.Key).By = word.Text
			}
		}
	}
	return expect
}

func (r reader) expectation(flow string, verdict, by *yaml.Node) (Expectation, bool) {
	e := Expectation{Flow: flow}
	if verdict != nil {
		e.Span, e.Verdict = r.Place(verdict), r.verdict(verdict)
	}
	if by != nil {
		word, _ := r.Value(by)
		e.By = word.Text
		if verdict == nil {
			e.Span = r.Place(by)
		}
	}
	return e, verdict != nil || by != nil
}

func (r reader) verdict(n *yaml.Node) *lang.Verdict {
	word, ok := r.Value(n)
	if !ok {
		return nil
	}
	for _, v := range []lang.Verdict{lang.Deny, lang.Allow, lang.AllowHard} {
		if v.String() == word.Text {
			return &v
		}
	}
	r.Errorf(word.Span, "unknown-value", "`%s` is no verdict", word.Text).Hint = "allow, allow-hard or deny"
	return nil
}

// redirect reads `{from: DESTINATION, to: DESTINATION}`.
func (r reader) redirect(n *yaml.Node) (from, to Destination) {
	found := map[string]Destination{}
	for _, e := range r.mapping(n, "`redirect`", []string{"from", "to"}) {
		if word, ok := r.Value(e.Value); ok {
			found[e.Key.Text] = r.destination(word)
		}
	}
	from, to = found["from"], found["to"]
	if n.Kind == yaml.MappingNode && len(found) < 2 {
		r.Errorf(r.Place(n), "missing-key", "a redirection needs `from` and `to`")
	} else if from.IsValid() && to.IsValid() && from.Addr().Is4() != to.Addr().Is4() {
		r.Errorf(r.Place(n), "mixed-families", "`%s` and `%s` are of different families", from, to)
	}
	return from, to
}

func (r reader) destination(word lang.Word) Destination {
	d, err := netip.ParseAddrPort(word.Text)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(word.Text)
		d = netip.AddrPortFrom(a, 0)
	}
	if err != nil || d.Addr().Zone() != "" {
		r.Errorf(word.Span, "bad-address", "`%s` is no destination", word.Text).Hint = "an address or address:port, such as 203.0.113.80:443 or [2001:db8::1]:443"
		return Destination{}
	}
	return netip.AddrPortFrom(d.Addr().Unmap(), d.Port())
}
