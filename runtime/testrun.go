package runtime

import (
	"fmt"

	"github.com/hopgate/hopgate/codegen"
)

// TestRun runs the program's function for a layer as bpf_prog_test_run_opts does:
// on a bpf_sock_addr_t, for which helper 65538 fails, or on a
// bpf_sock_addr_test_context_t, of which it gives the network context (TestContext
// makes one). It returns what the program returned, as the hook's int, and the
// bytes of context with what the program left in them. Connections are not
// involved, but counters move and events are written. Errors: a context that is
// too short or of another version, no function for the layer, a program that
// cannot be run.
func (i *Instance) TestRun(at codegen.AttachType, context []byte) (returned int32, out []byte, err error) {
	functions := i.functions[at]
	if len(functions) == 0 {
		return 0, nil, fmt.Errorf("the program has no function for %s", at.Section())
	}
	if len(context) < codegen.SockAddrSize {
		return 0, nil, fmt.Errorf("context of %d bytes: want %d, or %d with a network context", len(context), codegen.SockAddrSize, codegen.TestContextSize)
	}
	call := invocation{blind: true} // of no layer: helper set_redirect_context fails
	out = append(out, context...)
	place := out
	if len(context) >= codegen.TestContextSize {
		if err := checkTestContext(context); err != nil {
			return 0, nil, err
		}
		call.blind = false
		copy(call.network[:], context[codegen.TestContextNetwork:])
		place = out[codegen.TestContextSockAddr:]
	}
	copy(call.context[:], place)
	_, r0, _, _, err := functions[0].invoke(&call)
	copy(place, call.context[:])
	return int32(r0), out, err
}
