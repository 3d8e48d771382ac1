#include "runtime/grammar/json_frame.h"

#include <functional>

namespace hearth::grammar {

FramePtr::FramePtr(Frame* frame) : frame_(frame) {
  ++frame_->references;
}
FramePtr::FramePtr(const FramePtr& other) : frame_(other.frame_) {
  if (frame_) ++frame_->references;
}

// Without recursion: documents may be deep.
void FramePtr::release() {
  Frame* at = std::exchange(frame_, nullptr);
  while (at && --at->references == 0) {
    Frame* parent = std::exchange(at->parent.frame_, nullptr);
    delete at;
    at = parent;
  }
}

ExtraNames with(const ExtraNames& names, const std::string& name) {
  const uint64_t hash = mixed(names ? names->hash : 0, std::hash<std::string>()(name));
  return std::make_shared<const ExtraName>(ExtraName{name, names, hash});
}

bool same(const ExtraNames& first, const ExtraNames& second) {
  const ExtraName *a = first.get(), *b = second.get();
  for (; a != b; a = a->before.get(), b = b->before.get())
    if (!a || !b || a->hash != b->hash || a->name != b->name) return false;
  return true;
}

FramePtr sealed(Frame frame) {
  uint64_t hash = mixed(frame.object, uint64_t{frame.form} << 32 | frame.count);
  hash = mixed(hash, frame.pending);
  for (const uint32_t n : frame.counted) hash = mixed(hash, n);
  for (const uint64_t word : frame.seen.words()) hash = mixed(hash, word);
  if (frame.extra) hash = mixed(hash, frame.extra->hash);
  frame.hash = mixed(hash, hash_of(frame.parent));
  frame.usable.reset();
  return FramePtr(new Frame(std::move(frame)));
}

bool same(const FramePtr& first, const FramePtr& second) {
  const Frame *a = first.get(), *b = second.get();
  while (a != b) {
    if (!a || !b || a->hash != b->hash || a->object != b->object || a->form != b->form || a->count != b->count ||
        a->pending != b->pending || a->counted != b->counted || a->seen != b->seen || !same(a->extra, b->extra))
      return false;
    a = a->parent.get(), b = b->parent.get();
  }
  return true;
}

}  // namespace hearth::grammar
