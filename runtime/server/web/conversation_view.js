// The branch that is shown: a view for each of its messages, kept as long as the message is shown; scrolling that
// follows an answer unless the reader has gone elsewhere.

import {byId} from './dom.js';
import {pathTo} from './conversations.js';
import {doing, MessageView} from './message_view.js';
import {duration, speed} from './numbers.js';

const kNear = 60;  // pixels from the end at which the reader counts as being there

export class ConversationView {
  constructor(chat) {
    this.chat = chat;
    this.views = new Map();
    this.box = byId('messages');
    this.scroller = byId('scroll');
    this.follows = true;
    this.act = {
      edit: (node, text) => chat.edit(node, text),
      again: (node) => chat.again(node),
      goOn: (node) => chat.goOn(node),
      giveResults: (node, results) => chat.giveResults(node, results),
      showBranch: (node, button) => this.showBranch(node, button),
    };
    this.scroller.addEventListener('scroll', () => this.scrolled(), {passive: true});
    byId('to-end').addEventListener('click', () => this.toEnd());
    chat.addEventListener('shown', () => this.draw());
    chat.addEventListener('grown', ({detail}) => this.grow(detail));
  }

  draw() {
    const {conversation} = this.chat;
    const path = pathTo(conversation);
    if (conversation.id !== this.shown) {
      this.views.clear();
      this.follows = true;
    }
    this.shown = conversation.id;
    const old = this.views;
    this.views = new Map();
    path.forEach((node, i) => this.views.set(node.id, this.viewOf(old, node, i === path.length - 1)));
    const hadFocus = this.box.contains(document.activeElement);
    const wanted = [...this.views.values()].map((view) => view.element);
    if (wanted.length !== this.box.children.length || wanted.some((one, i) => one !== this.box.children[i]))
      this.box.replaceChildren(...wanted);
    // What had the focus is gone: Tab goes on from here, and not from the top of the page.
    if (hadFocus && document.activeElement === document.body) this.scroller.focus({preventScroll: true});
    byId('welcome').hidden = path.length > 0;
    this.keepAtEnd();
  }

  // The one that was there, unless something is different that is drawn once.
  viewOf(old, node, last) {
    const answering = this.chat.answerings.get(node.id) ?? null;
    const view = old.get(node.id);
    if (!view || view.node !== node || view.last !== last)
      return this.updated(new MessageView(this.chat.conversation, node, this.act, {last}), answering);
    view.conversation = this.chat.conversation;
    return this.updated(view, answering);
  }

  updated(view, answering) {
    view.update(answering);
    return view;
  }

  // Drawing takes no more than about a third of the time, however long the answer.
  grow(answering) {
    if (answering.conversation.id !== this.shown || this.waiting) return;
    this.waiting = true;
    setTimeout(() => requestAnimationFrame(() => {
      const began = performance.now();
      this.waiting = false;
      this.views.get(answering.node.id)?.update(this.chat.answerings.get(answering.node.id) ?? null);
      this.drawDoing();
      this.keepAtEnd();
      this.took = performance.now() - began;
    }), Math.min(2 * (this.took ?? 0), 1000));
  }

  drawDoing() {
    const answering = this.chat.answering();
    const words = !answering ? '' : doing(answering) || (answering.speed ? speed(answering.speed) : '');
    const left = answering?.phase === 'reading' && answering.reading?.left;
    byId('doing').textContent = left ? `${duration(left)} left` : words;
  }

  showBranch(node, button) {
    this.chat.showBranch(node);
    // The button that was pressed is gone: its successor has the focus.
    const buttons = [...this.views.get(node.id)?.element.querySelectorAll('.branches button') ?? []];
    const same = button === 'left' ? buttons[0] : buttons[1];
    (same?.disabled ? buttons.find((one) => !one.disabled) : same)?.focus();
  }

  // --- Scrolling.

  fromEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }

  scrolled() {
    this.follows = this.fromEnd() < kNear;
    byId('to-end').hidden = this.follows;
  }

  keepAtEnd() {
    if (this.follows) this.toEnd();
    else byId('to-end').hidden = this.fromEnd() < kNear;
  }

  toEnd() {
    this.follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    byId('to-end').hidden = true;
  }
}
