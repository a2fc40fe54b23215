"""Functions that layers and losses are made of, under PyTorch's names (with `axis` for `dim`)."""

from ..ops.activation import elu as elu
from ..ops.activation import gelu as gelu
from ..ops.activation import leaky_relu as leaky_relu
from ..ops.activation import log_softmax as log_softmax
from ..ops.activation import logsigmoid as logsigmoid
from ..ops.activation import maxout as maxout
from ..ops.activation import relu as relu
from ..ops.activation import sigmoid as sigmoid
from ..ops.activation import silu as silu
from ..ops.activation import softmax as softmax
from ..ops.activation import softplus as softplus
from ..ops.elementwise import tanh as tanh
from ..ops.linalg import linear as linear
from ..ops.loss import binary_cross_entropy as binary_cross_entropy
from ..ops.loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from ..ops.loss import cross_entropy as cross_entropy
from ..ops.loss import hinge_loss as hinge_loss
from ..ops.loss import huber_loss as huber_loss
from ..ops.loss import l1_loss as l1_loss
from ..ops.loss import mse_loss as mse_loss
from ..ops.loss import multiclass_svm_loss as multiclass_svm_loss
