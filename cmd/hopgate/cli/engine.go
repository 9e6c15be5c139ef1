package cli

import (
	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime"
)

// engine decides on a request.
type engine func(*compiler.Request) (answer, error)

// referenceEngine asks the rules themselves.
func referenceEngine(policy *compiler.Policy) engine {
	return func(r *compiler.Request) (answer, error) { return newAnswer(policy, policy.Eval(r)), nil }
}

// hookEngine compiles the policy and asks the program, in a hook of its own; the
// rule is the one whose counter moved.
func hookEngine(policy *compiler.Policy) (engine, error) {
	program, _, err := generate(policy, &codegen.Options{})
	if err != nil {
		return nil, err
	}
	hook := runtime.NewHook(nil)
	if _, err := hook.Attach(program, nil); err != nil {
		return nil, err
	}
	open := hook.Connect
	if policy.Hook == compiler.Accept {
		open = hook.Accept
	}
	return func(r *compiler.Request) (answer, error) {
		flow, result := open(r)
		flow.Close()
		call := result.Decider()
		return answer{Verdict: result.Verdict.String(), Rule: call.Rule, Audit: call.Audit}, call.Err
	}, nil
}

// explained adds the explanation by the rules to another engine's answers.
func explained(decide engine, policy *compiler.Policy) engine {
	return func(r *compiler.Request) (answer, error) {
		a, err := decide(r)
		a.Explanation = explanation(policy, r)
		return a, err
	}
}

// explanation is each rule up to the one that decides, and why.
func explanation(policy *compiler.Policy, r *compiler.Request) []string {
	var lines []string
	for _, step := range policy.Explain(r) {
		lines = append(lines, step.String())
	}
	return lines
}
