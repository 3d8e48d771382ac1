import {runAll} from './check.js';
import './markdown_test.js';
import './hostile_test.js';
import './stream_test.js';
import './conversations_test.js';
import './checked_test.js';
import './storage_test.js';
import './small_test.js';

window.results = await runAll();
