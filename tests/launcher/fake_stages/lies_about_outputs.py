"""Its receipt names files that it did not leave."""

import harness

harness.finish()
harness.RUN.belongings(harness.STAGE)[1].write_text("something else")
