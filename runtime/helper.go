package runtime

import (
	"errors"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/runtime/vm"
)

// Process is what the helpers tell of the process that opens a connection.
type Process struct {
	PID, TID      uint32
	LogonID       uint64
	Admin         bool
	StartKey      uint64
	ThreadCreated int64 // in 100 ns since 1601
}

// invocation is what one run of a program is given, and what it leaves.
type invocation struct {
	context [codegen.SockAddrSize]byte
	network [codegen.NetworkContextSize]byte
	layer   layer
	blind   bool // there is no network context, whatever the layer

	cookie          uint64
	process         Process
	redirectContext []byte // what the program left for a proxy
}

// describe fills in what a program of the layer is shown of a request.
func (v *invocation) describe(at codegen.AttachType, r *compiler.Request) error {
	v.layer = layerOf(at)
	v.blind = !PutNetworkContext(v.network[:], at, r)
	return PutSockAddr(v.context[:], at, r)
}

// failure is the -1 of a C function that returns int.
const failure = ^uint64(0)

var errContext = errors.New("r1 is not the context")

// helpers are those that only programs of type BPF_PROG_TYPE_CGROUP_SOCK_ADDR have.
func helpers() map[int32]vm.Helper {
	return map[int32]vm.Helper{
		codegen.HelperNetworkContext:     withContext(getNetworkContext),
		codegen.HelperSetRedirectContext: withContext(setRedirectContext),
		codegen.HelperCurrentPidTgid:     getPidTgid,
		codegen.HelperCurrentPidTgidOld:  getPidTgid,
		codegen.HelperCurrentLogonID:     withContext(getLogonID),
		codegen.HelperIsCurrentAdmin:     withContext(isAdmin),
		codegen.HelperSocketCookie:       withContext(getCookie),
		codegen.HelperProcessStartKey:    getStartKey,
		codegen.HelperThreadCreateTime:   getThreadCreated,
	}
}

// withContext refuses a call of which the first argument is not the context, as a
// verifier does.
func withContext(h func(m *vm.Machine, v *invocation, r2, r3 uint64) (uint64, error)) vm.Helper {
	return func(m *vm.Machine, r1, r2, r3, _, _ uint64) (uint64, error) {
		if !m.IsContext(r1) {
			return 0, errContext
		}
		return h(m, m.State().(*invocation), r2, r3)
	}
}

// getNetworkContext: int (ctx, void *buffer, u32 size). The buffer is zeroed even
// where the helper fails for want of a network context.
func getNetworkContext(m *vm.Machine, v *invocation, buffer, r3 uint64) (uint64, error) {
	size := uint64(uint32(r3))
	if buffer == 0 || size == 0 {
		return failure, nil
	}
	var zero [codegen.NetworkContextSize]byte
	for at := uint64(0); at < size; at += uint64(len(zero)) {
		if err := m.Write(buffer+at, zero[:min(size-at, uint64(len(zero)))]); err != nil {
			return 0, err
		}
	}
	if v.blind {
		return failure, nil
	}
	return 0, m.Write(buffer, v.network[:min(size, codegen.NetworkContextSize)])
}

// setRedirectContext: int (ctx, void *data, u32 size), at the redirect layer only.
func setRedirectContext(m *vm.Machine, v *invocation, data, r3 uint64) (uint64, error) {
	size := uint64(uint32(r3))
	if data == 0 || size == 0 || size > maxRedirectContext || !v.layer.redirect {
		return failure, nil
	}
	b := make([]byte, size)
	if err := m.Read(data, b); err != nil {
		return 0, err
	}
	v.redirectContext = b
	return 0, nil
}

// maxRedirectContext bounds what a program may leave, in bytes; Windows has no
// bound but its memory.
const maxRedirectContext = 1 << 20

// getPidTgid: u64 (): process id << 32 | thread id.
func getPidTgid(m *vm.Machine, _, _, _, _, _ uint64) (uint64, error) {
	p := &m.State().(*invocation).process
	return uint64(p.PID)<<32 | uint64(p.TID), nil
}

// getStartKey: u64 ().
func getStartKey(m *vm.Machine, _, _, _, _, _ uint64) (uint64, error) {
	return m.State().(*invocation).process.StartKey, nil
}

// getThreadCreated: s64 ().
func getThreadCreated(m *vm.Machine, _, _, _, _, _ uint64) (uint64, error) {
	return uint64(m.State().(*invocation).process.ThreadCreated), nil
}

// getLogonID: u64 (ctx).
func getLogonID(_ *vm.Machine, v *invocation, _, _ uint64) (uint64, error) {
	return v.process.LogonID, nil
}

// isAdmin: s32 (ctx).
func isAdmin(_ *vm.Machine, v *invocation, _, _ uint64) (uint64, error) {
	if v.process.Admin {
		return 1, nil
	}
	return 0, nil
}

// getCookie: u64 (ctx).
func getCookie(_ *vm.Machine, v *invocation, _, _ uint64) (uint64, error) { return v.cookie, nil }
