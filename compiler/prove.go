package compiler

import (
	"fmt"

	"github.com/hopgate/hopgate/lang"
)

// Proof is what became of an assert: it holds, or there is a counterexample, or
// neither was found within the limit.
type Proof struct {
	Assert         *Assert
	Holds          bool
	Counterexample *Counterexample
}

// Undecided reports whether the search ended before it knew the answer.
func (p *Proof) Undecided() bool { return !p.Holds && p.Counterexample == nil }

// Counterexample is a connection for which an assert fails. Decision is what Eval
// says of it.
type Counterexample struct {
	Witness
	Decision Decision
}

// ProofSteps is how many steps the search for one counterexample may take.
const ProofSteps = 1 << 24

// Prove decides every assert of the policy, judged as if it were enforced. An assert
// is on the safe side: where its condition is unknown, `never allow` and `always
// deny` still apply, `never deny` and `always allow` do not.
func Prove(p *Policy) []Proof {
	p = p.Enforced()
	proofs := make([]Proof, len(p.Asserts))
	spaces := newPolicySpaces(p, false)
	for i := range p.Asserts {
		proofs[i] = spaces.prove(&p.Asserts[i])
	}
	return proofs
}

// ruleSpace is the space of one address family with the formulas under which the
// rules match.
type ruleSpace struct {
	*space
	rules ruleFormulas
}

// policySpaces are the spaces of a policy, for both families.
type policySpaces struct {
	policy *Policy
	spaces [2]ruleSpace
}

func newPolicySpaces(p *Policy, textual bool) policySpaces {
	both := policySpaces{policy: p}
	for i := range both.spaces {
		s := newSpace(i == 1)
		s.textual = textual
		s.interfaces = sameInterfaces(p, p)
		both.spaces[i] = ruleSpace{s, s.ruleFormulas(p)}
	}
	return both
}

// appliesToUnknown reports whether the assert is about a connection on which its condition
// is unknown.
func (a *Assert) appliesToUnknown() bool { return a.Always == (a.Verdict == lang.Deny) }

// violatedBy reports whether a verdict is not what the assert claims. `allow` there
// includes `allow hard`.
func (a *Assert) violatedBy(v lang.Verdict) bool {
	is := v == a.Verdict || a.Verdict == lang.Allow && v == lang.AllowHard
	return is != a.Always
}

func (both policySpaces) prove(a *Assert) Proof {
	p := both.policy
	// An example in which two names stand for one interface is a last resort.
	for _, distinct := range []bool{true, false} {
		for _, s := range both.spaces {
			find := &search{space: s.space, steps: ProofSteps}
			if w := s.violation(find, p, a, distinct); w != nil {
				return Proof{Assert: a, Counterexample: confirmed(p, a, w)}
			}
			if find.gaveUp() {
				return Proof{Assert: a}
			}
		}
		if len(p.Interfaces) < 2 {
			break
		}
	}
	return Proof{Assert: a, Holds: true}
}

// confirmed asks the reference about a counterexample before anybody sees it.
func confirmed(p *Policy, a *Assert, w *Witness) *Counterexample {
	p = w.Under(p)
	decision := p.Eval(&w.Request)
	claim := EvalCond(withTests(a.Cond, w.under), &w.Request)
	if claim == False || claim == Maybe && !a.appliesToUnknown() || !a.violatedBy(decision.Verdict) {
		panic(fmt.Sprintf("compiler: %s does not violate assert `%s`", p.RequestText(&w.Request), a.ID))
	}
	return &Counterexample{*w, decision}
}

// violation finds a connection on which the assert's condition holds and a rule, or
// the default, decides against it.
func (s *ruleSpace) violation(find *search, p *Policy, a *Assert, distinct bool) (found *Witness) {
	claim := s.formula(a.Cond, a.appliesToUnknown(), false)
	s.decides(find, &claim, func(rule int) part {
		if a.violatedBy(p.Rules[rule].Verdict) {
			return sought
		}
		return fine
	}, a.violatedBy(p.Default), nil, func(r region) (ok bool) {
		w, ok := s.witness(r, distinct)
		if ok {
			found = w
		}
		return ok
	})
	return found
}
