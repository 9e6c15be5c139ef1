package scenario

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
	"github.com/hopgate/hopgate/runtime"
)

// Options configures Run.
type Options struct {
	Hook runtime.HookOptions

	// Request gives field values their meaning; nil knows no `$name`. Of values
	// that it refuses, the first that cannot join those before it is reported.
	Request func([]lang.Given) (compiler.Request, error)
}

// Report is what happened.
type Report struct {
	Decisions  []Decision
	Mismatches lang.Diagnostics // what was expected and did not happen
}

// Decision is one decision of the hook.
type Decision struct {
	Step    int            // from 1
	Stage   runtime.Stage  // connect, accept or reauthorize
	Flow    string         // the connection's name or number
	Network string         // where the host was; "" before the first move
	Remote  netip.AddrPort // the remote end; the new one, if it was redirected
	Verdict lang.Verdict
	Policy  string // the program that decided; "" where none ran
	Rule    string // its rule; "" where it counts none
	State   State
	Result  *runtime.Result // every program's verdict
}

// State is what became of the connection.
type State string

const (
	Live    State = "live"
	Blocked State = "blocked" // it was never let through
	Dropped State = "dropped" // it was live until this decision
)

// Run attaches the programs to a hook of their own, in order, and plays the
// scenario. The error says why it could not be played; what did not go as
// expected is in the report.
func Run(s *Scenario, programs []*codegen.Program, opts *Options) (*Report, error) {
	p := &player{
		scenario: s,
		hook:     runtime.NewHook(&opts.Hook),
		network:  -1,
		flows:    map[string]*flow{},
		proxies:  map[Destination]*runtime.Link{},
		report:   &Report{},
	}
	if err := p.resolve(opts.Request); err != nil {
		return nil, err
	}
	for _, program := range programs {
		if _, err := p.hook.Attach(program, nil); err != nil {
			return nil, fmt.Errorf("policy `%s`: %w", program.Policy, err)
		}
	}
	for i := range s.Steps {
		if err := p.play(i); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Steps[i].Span, err)
		}
	}
	return p.report, nil
}

type player struct {
	scenario *Scenario
	hook     *runtime.Hook
	places   []runtime.Network  // of the networks
	requests []compiler.Request // of the steps
	network  int                // where the host is, or -1
	flows    map[string]*flow
	order    []string // their names
	proxies  map[Destination]*runtime.Link
	report   *Report
}

type flow struct {
	*runtime.Flow
	own   runtime.Network // the network fields of its own request
	given []lang.Given
}

// resolve finds the meaning of every field value, and all that is wrong with them.
func (p *player) resolve(request func([]lang.Given) (compiler.Request, error)) error {
	if request == nil {
		request = withoutNames
	}
	var found lang.Diagnostics
	read := func(given []lang.Given) compiler.Request {
		for i, g := range given {
			if _, err := request(given[:i+1]); err != nil {
				found = append(found, lang.Diagnostic{Span: g.Span, Code: codeBadRequest, Message: err.Error()})
				given = given[:i]
				break
			}
		}
		r, _ := request(given) // each of given has been read
		return r
	}
	for _, n := range p.scenario.Networks {
		r := read(n.Given)
		p.places = append(p.places, runtime.NetworkOf(&r))
	}
	for _, step := range p.scenario.Steps {
		p.requests = append(p.requests, read(step.Given))
	}
	return found.Sort().Err()
}

// withoutNames is what field values mean where no interface has a name.
func withoutNames(given []lang.Given) (compiler.Request, error) {
	words := make([]compiler.Given, len(given))
	for i, g := range given {
		words[i] = compiler.Given{Field: g.Field.Text, Literal: g.Value.String()}
	}
	return new(compiler.Policy).ParseRequest(words)
}

// play plays the i-th step.
func (p *player) play(i int) error {
	step := &p.scenario.Steps[i]
	switch step.Action {
	case Move:
		p.network = step.Network
		for _, name := range p.order {
			f := p.flows[name]
			if result := f.Reauthorize(p.place(f)); result != nil {
				p.decided(i, name, result)
			}
		}
	case Connect, Accept:
		p.open(i, step)
	case Redirect:
		return p.redirect(step)
	case Close:
		f := p.flows[step.Flow]
		if !f.Live() {
			p.mismatch(step.Span, "flow `%s` is not live", step.Flow)
		}
		f.Close()
	}
	for _, e := range step.Expect {
		p.compare(i, &e)
	}
	return nil
}

func (p *player) open(i int, step *Step) {
	r := p.requests[i]
	f := &flow{own: runtime.NetworkOf(&r), given: step.Given}
	p.place(f).Apply(&r)
	open := p.hook.Connect
	if step.Action == Accept {
		open = p.hook.Accept
	}
	var result *runtime.Result
	f.Flow, result = open(&r)
	p.flows[step.Flow] = f
	p.order = append(p.order, step.Flow)
	p.decided(i, step.Flow, result)
}

// place is the network as a flow sees it: where the host is, but for what the
// flow's own request gives.
func (p *player) place(f *flow) runtime.Network {
	if p.network < 0 {
		return f.own
	}
	n := p.places[p.network]
	for _, g := range f.given {
		switch g.Field.Text {
		case compiler.InterfaceType.String():
			n.InterfaceType = f.own.InterfaceType
		case compiler.TunnelType.String():
			n.TunnelType = f.own.TunnelType
		case compiler.NextHop.String():
			n.NextHop = f.own.NextHop
		case compiler.SubInterface.String():
			n.SubInterface = f.own.SubInterface
		case compiler.Interface.String():
			n.Interface = f.own.Interface
		}
	}
	return n
}

// redirect attaches a program that redirects, or updates the one there is for
// the destination.
func (p *player) redirect(step *Step) error {
	program := redirector(step.From, step.To)
	if link, ok := p.proxies[step.From]; ok {
		return link.Update(program)
	}
	link, err := p.hook.Attach(program, nil)
	p.proxies[step.From] = link
	return err
}

func (p *player) decided(step int, name string, result *runtime.Result) {
	d := Decision{
		Step: step + 1, Stage: result.Stage, Flow: name,
		Remote: result.Request.Remote, Verdict: result.Verdict, State: Live, Result: result,
	}
	if p.network >= 0 {
		d.Network = p.scenario.Networks[p.network].Name
	}
	if call := result.Decider(); call != nil {
		d.Policy, d.Rule = call.Policy, call.Rule
	}
	switch {
	case result.Verdict == lang.Deny && result.Stage == runtime.Reauthorizing:
		d.State = Dropped
	case result.Verdict == lang.Deny:
		d.State = Blocked
	}
	p.report.Decisions = append(p.report.Decisions, d)
}

// compare checks an expectation against the step's decision on its flow.
func (p *player) compare(step int, e *Expectation) {
	i := slices.IndexFunc(p.report.Decisions, func(d Decision) bool { return d.Step == step+1 && d.Flow == e.Flow })
	if i < 0 {
		p.mismatch(e.Span, "nothing was decided on flow `%s`: it is not live, or inbound", e.Flow)
		return
	}
	d := p.report.Decisions[i]
	by := d.Rule
	if by == "" {
		by = "no known rule"
	} else {
		by = "`" + by + "`"
	}
	if e.Verdict != nil && *e.Verdict != d.Verdict {
		p.mismatch(e.Span, "expected %s for flow `%s`, got %s by %s", *e.Verdict, e.Flow, d.Verdict, by)
	} else if e.By != "" && e.By != d.Rule {
		p.mismatch(e.Span, "expected rule `%s` to decide on flow `%s`, it was %s", e.By, e.Flow, by)
	}
}

func (p *player) mismatch(at lang.Span, format string, args ...any) {
	p.report.Mismatches = append(p.report.Mismatches, lang.Diagnostic{Span: at, Code: codeExpectationFailed, Message: fmt.Sprintf(format, args...)})
}
